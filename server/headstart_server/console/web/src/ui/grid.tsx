import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

const OVERSCAN_ROWS = 2;

/**
 * A grid of which only the visible rows exist. One cell has the focus; arrow keys move it.
 * `renderCell` gives the content of the cell at a place, which may not be loaded yet.
 */
export function VirtualGrid(props: {
  label: string;
  count: number;
  cellWidth: number;
  cellHeight: number;
  /** The place with the focus. A key may come before the last one is drawn. */
  cursor: { current: number };
  onFocus: (place: number) => void;
  onKey: (event: KeyboardEvent) => void;
  onVisible: (first: number, end: number) => void;
  cellClass: (place: number) => string;
  renderCell: (place: number) => ComponentChildren;
}) {
  const element = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState({ width: 0, height: 600 });
  const [top, setTop] = useState(0);
  const wantsFocus = useRef(false);
  useLayoutEffect(() => {
    const box = element.current;
    if (!box) return;
    const observer = new ResizeObserver(() => setSize({ width: box.clientWidth, height: box.clientHeight }));
    observer.observe(box);
    return () => observer.disconnect();
  }, []);
  const columns = Math.max(1, Math.floor(size.width / props.cellWidth));
  const rows = Math.ceil(props.count / columns);
  const first = Math.max(0, Math.floor(top / props.cellHeight) - OVERSCAN_ROWS);
  const last = Math.min(rows, Math.ceil((top + size.height) / props.cellHeight) + OVERSCAN_ROWS);
  useEffect(() => props.onVisible(first * columns, last * columns), [first, last, columns]);

  const move = (place: number) => {
    const target = Math.min(props.count - 1, Math.max(0, place));
    wantsFocus.current = true;
    const box = element.current;
    const y = Math.floor(target / columns) * props.cellHeight;
    if (box && y < box.scrollTop) box.scrollTop = y;
    if (box && y + props.cellHeight > box.scrollTop + box.clientHeight) box.scrollTop = y + props.cellHeight - box.clientHeight;
    props.onFocus(target);
  };
  useEffect(() => {
    if (!wantsFocus.current) return;
    const cell = element.current?.querySelector<HTMLElement>(`[data-place="${props.cursor.current}"]`);
    if (cell) {
      wantsFocus.current = false;
      cell.focus({ preventScroll: true });
    }
  }, [props.cursor.current, first, last]);
  const onKeyDown = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(size.height / props.cellHeight) - 1) * columns;
    const steps: Record<string, number> = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: columns,
      ArrowUp: -columns,
      PageDown: page,
      PageUp: -page,
      Home: -props.count,
      End: props.count,
    };
    const step = steps[event.key];
    if (step !== undefined && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      move(props.cursor.current + step);
    } else {
      const before = document.activeElement;
      props.onKey(event);
      if (before instanceof HTMLElement && before.dataset.place !== undefined) wantsFocus.current = true;
    }
  };
  const width = size.width ? size.width / columns : props.cellWidth;
  return (
    <div
      ref={element}
      class="grid-box"
      style={{ "--content": `${rows * props.cellHeight + 2}px` }}
      role="grid"
      aria-label={props.label}
      aria-rowcount={rows}
      aria-colcount={columns}
      tabIndex={-1}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      onKeyDown={onKeyDown}
    >
      <div role="rowgroup" class="grid-space" style={{ height: `${rows * props.cellHeight}px` }}>
        {Array.from({ length: Math.max(0, last - first) }, (_, offset) => {
          const row = first + offset;
          const cells = Math.min(columns, props.count - row * columns);
          return (
            <div key={row} role="row" aria-rowindex={row + 1} class="grid-row" style={{ top: `${row * props.cellHeight}px`, height: `${props.cellHeight}px` }}>
              {Array.from({ length: cells }, (_, column) => {
                const place = row * columns + column;
                return (
                  <div
                    key={place}
                    role="gridcell"
                    data-place={place}
                    class={`grid-cell ${props.cellClass(place)}`}
                    style={{ width: `${width}px` }}
                    tabIndex={place === props.cursor.current ? 0 : -1}
                    aria-selected={place === props.cursor.current}
                    onClick={() => move(place)}
                    onFocus={() => place !== props.cursor.current && props.onFocus(place)}
                  >
                    {props.renderCell(place)}
                  </div>
                );
              })}
            </div>
          );
        })}
      </div>
    </div>
  );
}

// Icons on a grid of 16, drawn with lines.

const PATHS = {
  home: "M2.5 7 8 2.5 13.5 7v6a.5.5 0 0 1-.5.5H9.7V10H6.3v3.5H3a.5.5 0 0 1-.5-.5Z",
  plus: "M8 3v10M3 8h10",
  jobs: "M2.5 4h11M2.5 8h7M2.5 12h4M11 11.5l1.3 1.3L15 10",
  key: "M10.2 9.3A3.6 3.6 0 1 0 6.7 5.8L2 10.5V14h3.5v-2h2v-2h1.3ZM11 5h.01",
  cube: "M8 1.8 13.5 5v6L8 14.2 2.5 11V5ZM2.5 5 8 8.2 13.5 5M8 8.2v6",
  search: "M7.2 12a4.8 4.8 0 1 0 0-9.6 4.8 4.8 0 0 0 0 9.6ZM10.8 10.8 14 14",
  code: "M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5",
  check: "m3 8.5 3.2 3L13 4.5",
  close: "M4 4l8 8M12 4l-8 8",
  camera: "M2 5.5A1 1 0 0 1 3 4.5h2L6 3h4l1 1.5h2a1 1 0 0 1 1 1V12a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1ZM8 10.8a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4Z",
  upload: "M8 10.5v-8M4.8 5.5 8 2.5l3.2 3M2.5 10.5V13h11v-2.5",
  text: "M3 3.5h10M8 3.5v9.5M6 13h4",
  link: "M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2.2-2.2A2.6 2.6 0 0 0 9 3.3l-.8.8M9.2 6.8a2.6 2.6 0 0 0-3.7 0L3.3 9A2.6 2.6 0 0 0 7 12.7l.8-.8",
  trash: "M3 4.5h10M6.2 4.5V3h3.6v1.5M4.2 4.5l.6 8.7h6.4l.6-8.7M6.8 7v4M9.2 7v4",
  undo: "M5.5 3 2.5 6l3 3M2.5 6H10a3.5 3.5 0 0 1 0 7H6",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 1.2v1.3M8 13.5v1.3M1.2 8h1.3M13.5 8h1.3M3.2 3.2l.9.9M11.9 11.9l.9.9M12.8 3.2l-.9.9M4.1 11.9l-.9.9",
  moon: "M13.5 9.6A6 6 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1Z",
  right: "m6 3.5 4.5 4.5L6 12.5",
  down: "m3.5 6 4.5 4.5L12.5 6",
  copy: "M5.5 5.5h8v8h-8ZM10.5 5.5v-3h-8v8h3",
  warn: "M8 2 14.5 13.5h-13ZM8 6.5v3.2M8 11.6v.1",
  flag: "M3.5 14V2.5M3.5 3h8L9.8 6l1.7 3h-8",
  spark: "M8 1.5 9.4 6.6 14.5 8 9.4 9.4 8 14.5 6.6 9.4 1.5 8 6.6 6.6Z",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  play: "M5 3v10l8-5Z",
  chart: "M2.5 13.5h11M4.5 11V8M8 11V3.5M11.5 11V6",
  grid: "M2.5 2.5h4.5v4.5H2.5ZM9 2.5h4.5v4.5H9ZM2.5 9h4.5v4.5H2.5ZM9 9h4.5v4.5H9Z",
  branch: "M4.5 11V5M4.5 5a1.6 1.6 0 1 0 0-3.2A1.6 1.6 0 0 0 4.5 5ZM4.5 14.2a1.6 1.6 0 1 0 0-3.2 1.6 1.6 0 0 0 0 3.2ZM11.5 8a1.6 1.6 0 1 0 0-3.2 1.6 1.6 0 0 0 0 3.2ZM11.5 8c0 2.5-4 2-6.5 3.3",
  map: "M2.5 2v11.5H14M5.5 10.5h.01M7 7.5h.01M9.5 9h.01M10 4.5h.01M12.5 6.5h.01M6 4.5h.01",
  eye: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8ZM8 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Logo({ size = 24 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" class="logo-ground" />
      <path class="logo-line" d="M9 22V10m0 6h7m0-6v12" stroke-width="3" />
      <path class="logo-line logo-soft" d="M20.5 16H25m-2.2-2.4L25.2 16l-2.4 2.4" stroke-width="2.2" />
    </svg>
  );
}

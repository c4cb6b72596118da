// Files that are dropped or chosen, with the classes that their folders name.

export interface Found {
  /** Path below the dropped folder, with `/` between folders. */
  path: string;
  file: File;
}

const IMAGE = /\.(jpe?g|png|webp|gif|bmp)$/i;
const TABLE = /\.(csv|tsv|jsonl|ndjson|zip)$/i;

export const isImage = (file: File): boolean => file.type.startsWith("image/") || IMAGE.test(file.name);
export const isTable = (file: File): boolean => TABLE.test(file.name);

/** Return the media type of a table or an archive. */
export function tableType(file: File): string {
  const ending = file.name.toLowerCase().split(".").pop();
  if (ending === "zip") return "application/zip";
  if (ending === "csv") return "text/csv";
  return ending === "tsv" ? "text/tab-separated-values" : "application/jsonl";
}

/** Return the files of a drop, those in folders included. */
export async function filesOfDrop(transfer: DataTransfer): Promise<Found[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (!entries.length) return [...transfer.files].map((file) => ({ path: file.name, file }));
  return ordered((await Promise.all(entries.map((entry) => filesBelow(entry, "")))).flat());
}

/** Return the files of an input, with the folders that were chosen. */
export const filesOfInput = (input: HTMLInputElement): Found[] =>
  ordered([...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file })));

const names = new Intl.Collator("en", { numeric: true });

/** Return files in the order of their paths: a browser lists folders in any order. */
const ordered = (found: readonly Found[]): Found[] => [...found].sort((one, other) => names.compare(one.path, other.path));

async function filesBelow(entry: FileSystemEntry, folder: string): Promise<Found[]> {
  const path = folder + entry.name;
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ path, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const children: FileSystemEntry[] = [];
  for (;;) {
    // A reader returns at most 100 entries at a time.
    const more = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!more.length) break;
    children.push(...more);
  }
  return (await Promise.all(children.map((child) => filesBelow(child, `${path}/`)))).flat();
}

/** Return images by class: the first folder below the folders that all share; "" without a folder. */
export function byClass(found: readonly Found[]): Map<string, Found[]> {
  const images = found.filter(({ file }) => isImage(file));
  const folders = images.map(({ path }) => path.split("/").slice(0, -1));
  let shared = 0;
  const first = folders[0];
  if (first) {
    const isShared = (place: number) => folders.every((each) => each.length > place + 1 && each[place] === first[place]);
    while (isShared(shared)) shared++;
  }
  const classes = new Map<string, Found[]>();
  images.forEach((each, place) => {
    const name = folders[place]?.[shared] ?? "";
    const path = each.path.split("/").slice(shared + (name ? 1 : 0)).join("-");
    const others = classes.get(name);
    if (others) others.push({ path, file: each.file });
    else classes.set(name, [{ path, file: each.file }]);
  });
  return classes;
}

/** Return the bytes of a blob in base64. */
export async function base64(blob: Blob): Promise<string> {
  const url = await new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
  return url.slice(url.indexOf(",") + 1);
}

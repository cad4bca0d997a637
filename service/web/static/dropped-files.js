// Files that were dropped, pasted or chosen, those in folders too: DataTransfer | FileList -> [{file, path}].

const SYSTEM_FILES = /^(\.|Thumbs\.db$|desktop\.ini$|__MACOSX$)/i; // of the operating system, which people do not see

/** The files of an input element; those of a folder have its name in their path. */
export const readChosenFiles = (files) => [...files].filter(({ name }) => !SYSTEM_FILES.test(name)).map(
  (file) => ({ file, path: file.webkitRelativePath || file.name }));

/** The files of a drop or of the clipboard; folders are read to the bottom. Must be called within the event. */
export async function readTransfer(transfer) {
  const entries = [...transfer.items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return readChosenFiles(transfer.files);
  const found = [];
  for (const entry of entries) if (entry) await collectFiles(entry, found);
  return found;
}

async function collectFiles(entry, found) {
  if (SYSTEM_FILES.test(entry.name)) return;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  const children = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
    if (!part.length) break;
    children.push(...part);
  }
  children.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  for (const child of children) await collectFiles(child, found);
}

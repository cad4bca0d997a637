// Reader of NDJSON with files in its lines: body of a response -> objects, in which files are Blobs.

const FILES = new Set(["image", "before", "after"]); // members in base64
const LONG = 1 << 16; // bytes of a text that is decoded in slices: texts of JavaScript end at half a gigabyte
const SLICE = 1 << 18; // characters, a multiple of 4
const QUOTE = 0x22;
const LINE_FEED = 0x0a;

/** Yields the object of each line, until the end or until the connection is lost. Throws AbortError. */
export async function* readLines(body) {
  const reader = body.getReader();
  let chunks = [];
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      return { done: true };
    });
    if (done) return;
    let start = 0;
    for (let end; (end = value.indexOf(LINE_FEED, start)) >= 0; start = end + 1) {
      chunks.push(value.subarray(start, end));
      yield parseLine(await join(chunks));
      chunks = [];
    }
    if (start < value.length) chunks.push(value.subarray(start));
  }
}

const join = async (chunks) => (chunks.length === 1 ? chunks[0] : new Uint8Array(await new Blob(chunks).arrayBuffer()));

/** Bytes of one line -> its object. Only files are longer than LONG, and base64 holds no quotes. */
function parseLine(bytes) {
  const decoder = new TextDecoder();
  const files = [];
  let text = "";
  let start = 0;
  for (let quote = bytes.indexOf(QUOTE); quote >= 0; ) {
    const next = bytes.indexOf(QUOTE, quote + 1);
    if (next - quote > LONG) {
      text += decoder.decode(bytes.subarray(start, quote + 1)) + `#${files.length}`;
      files.push(decodeBase64(bytes.subarray(quote + 1, next)));
      start = next;
    }
    quote = next;
  }
  text += decoder.decode(bytes.subarray(start));
  const line = JSON.parse(text);
  for (const name of Object.keys(line)) {
    if (!FILES.has(name) || typeof line[name] !== "string") continue;
    const parts = line[name].startsWith("#") ? files[Number(line[name].slice(1))] : [toBytes(line[name])];
    line[name] = new Blob(parts, { type: name === "image" ? line.media_type : "" });
  }
  return line;
}

function decodeBase64(bytes) {
  const decoder = new TextDecoder();
  const parts = [];
  for (let start = 0; start < bytes.length; start += SLICE) parts.push(toBytes(decoder.decode(bytes.subarray(start, start + SLICE))));
  return parts;
}

function toBytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

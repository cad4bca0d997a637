// Grey pictures and canvases: a picture is {height, width, data: Uint8Array}, row by row, 0..255.

/** Paint a grey picture on a canvas of its own size. */
export function paint(canvas, picture) {
  const { height, width, data } = picture;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < data.length; i++) {
    image.data.fill(data[i], 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** Make a canvas black. */
export function clearCanvas(canvas) {
  canvas.width = canvas.height = 1;
}

/** A picture as nested lists [1,H,W,1], the `inputs` of a JSON request. */
export function toNested({ height, width, data }) {
  const rows = [];
  for (let y = 0; y < height; y++) {
    rows.push(Array.from(data.subarray(y * width, (y + 1) * width), (value) => [value]));
  }
  return [rows];
}

/** A picture from one sample [H,W,1] of a JSON response's `outputs`. */
export function fromNested(sample) {
  return { height: sample.length, width: sample[0].length, data: Uint8Array.from(sample.flat(2)) };
}

/** Mean squared error of two pictures, pixels in 0..1. */
export function meanSquaredError(first, second) {
  let sum = 0;
  for (let i = 0; i < first.data.length; i++) sum += ((first.data[i] - second.data[i]) / 255) ** 2;
  return sum / first.data.length;
}

/** Add gaussian noise of `sigma` (pixels in 0..1), the same for the same seed, clipped and rounded as in a file. */
export function addNoise({ height, width, data }, sigma, seed) {
  const random = mulberry32(seed);
  const noisy = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    noisy[i] = Math.round(Math.min(255, Math.max(0, data[i] + 255 * sigma * normal)));
  }
  return { height, width, data: noisy };
}

/** A generator of numbers in [0, 1), the same for the same seed (Tommy Ettinger's mulberry32). */
function mulberry32(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * An image file as a grey picture of height x width, scaled to fit and centred; dark ink on light paper is inverted,
 * since drawings are light on black. Throws what createImageBitmap throws for a file that is no image.
 */
export async function fitDrawing(file, height, width) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(width / bitmap.width, height / bitmap.height);
  const w = Math.max(1, Math.round(bitmap.width * scale));
  const h = Math.max(1, Math.round(bitmap.height * scale));
  const inner = toGrey(bitmap, h, w);
  bitmap.close();
  const border = [];
  for (let y = 0; y < h; y++) border.push(inner[y * w], inner[y * w + w - 1]);
  for (let x = 0; x < w; x++) border.push(inner[x], inner[(h - 1) * w + x]);
  const background = border.sort((a, b) => a - b)[border.length >> 1];
  const data = new Uint8Array(height * width).fill(background);
  const top = (height - h) >> 1;
  const left = (width - w) >> 1;
  for (let y = 0; y < h; y++) data.set(inner.subarray(y * w, (y + 1) * w), (top + y) * width + left);
  if (background > 127) data.forEach((value, i) => (data[i] = 255 - value));
  return { height, width, data };
}

/**
 * An image as the service fits it to height x width: "contain" lies on the colour of the image's border (the median of
 * each channel), "cover" is cut, "stretch" scaled on each axis alone. Resolves to a PNG.
 */
export async function fitImage(bitmap, height, width, fit) {
  const [x, y] = [width / bitmap.width, height / bitmap.height];
  const scale = fit === "cover" ? Math.max(x, y) : Math.min(x, y);
  const [w, h] = fit === "stretch" ? [width, height] : [Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale))];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = `rgb(${borderColour(bitmap).join(" ")})`;
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, Math.floor((width - w) / 2), Math.floor((height - h) / 2), w, h);
  return canvas.convertToBlob();
}

/** The median of each channel of an image's outermost pixels, over white. */
function borderColour(bitmap) {
  const { width, height } = bitmap;
  const strips = [[0, 0, width, 1], [0, height - 1, width, 1], [0, 0, 1, height], [width - 1, 0, 1, height]];
  const channels = [[], [], []];
  for (const [left, top, w, h] of strips) {
    const context = new OffscreenCanvas(w, h).getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, w, h);
    context.drawImage(bitmap, left, top, w, h, 0, 0, w, h);
    const { data } = context.getImageData(0, 0, w, h);
    for (let i = 0; i < data.length; i++) if (i % 4 < 3) channels[i % 4].push(data[i]);
  }
  return channels.map((values) => values.sort((a, b) => a - b)[values.length >> 1]);
}

/** The grey values (BT.601) of an image source scaled to height x width. */
export function toGrey(source, height, width) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  return Uint8Array.from({ length: width * height }, (_, i) =>
    Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]));
}

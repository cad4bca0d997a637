// Samples of a package's own test split: what the page opens a model with.

import { getJson } from "./api.js";

/** [n,...] as the operations take them; null if the package carries none. */
export async function loadExamples(model) {
  if (!model.examples) return null;
  try {
    return (await getJson(`v1/models/${model.name}/versions/${model.version}/examples`)).inputs;
  } catch {
    return null; // the page's own examples take their place
  }
}

/** The first example of a model of pictures as a PNG file; null if the package carries none. */
export async function loadExampleFile(model) {
  const [pixels] = (await loadExamples(model)) ?? [];
  if (!pixels) return null;
  const [height, width, channels] = [pixels.length, pixels[0].length, pixels[0][0].length];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  pixels.flat().forEach((values, index) => {
    for (let channel = 0; channel < 3; channel++) image.data[4 * index + channel] = values[channels === 1 ? 0 : channel];
    image.data[4 * index + 3] = 255;
  });
  context.putImageData(image, 0, 0);
  return new File([await canvas.convertToBlob()], "example.png", { type: "image/png" });
}

// Words in a card's figures: in another language they are written over those of the picture.

import { currentLanguage, translateClass, translateLabel } from "./translations.js";

const LINE_HEIGHT = 1.2; // of a label's box, in sizes of its letters
const HALO = 1; // pixels around a box that are cleared too

/** Write the words of a figure in the page's language once it has loaded; `labels` as GET .../files lists them. */
export function translateFigure(image, link, name, labels) {
  const translate = name === "latent_map.png" ? translateClass : translateLabel;
  const words = labels.map((label) => ({ ...label, translation: translate(label.text) }))
    .filter(({ text, translation }) => text !== translation);
  if (currentLanguage() === "en" || !words.length) return;
  image.addEventListener("load", async () => {
    const url = URL.createObjectURL(await drawFigure(image, words));
    const address = image.src;
    image.addEventListener("load", () => address.startsWith("blob:") && URL.revokeObjectURL(address), { once: true });
    image.src = link.href = url;
  }, { once: true });
}

/** PNG of the picture with other words in the boxes. */
function drawFigure(image, words) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const family = getComputedStyle(document.body).fontFamily;
  for (const word of words) drawWord(context, word, family);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function drawWord(context, { translation, left, top, right, bottom, align, turn }, family) {
  const { width: canvasWidth, height: canvasHeight } = context.canvas;
  const box = [left - HALO, top - HALO, right - left + 2 * HALO, bottom - top + 2 * HALO];
  const [red, green, blue] = findInk(context, box);
  context.fillStyle = "#fff";
  context.fillRect(...box);
  context.save();
  context.translate((left + right) / 2, (top + bottom) / 2);
  if (turn) context.rotate(-Math.PI / 2);
  const [length, height] = turn ? [bottom - top, right - left] : [right - left, bottom - top];
  context.font = `${height / LINE_HEIGHT}px ${family}`;
  context.fillStyle = `rgb(${red} ${green} ${blue})`;
  context.textAlign = align;
  context.textBaseline = "middle";
  const x = { left: -length / 2, center: 0, right: length / 2 }[align];
  const room = turn ? canvasHeight : { left: canvasWidth - left, center: canvasWidth, right }[align];
  context.fillText(translation, x, 0, room);
  context.restore();
}

/** The darkest colour in a box of the picture: that of the word in it. */
function findInk(context, box) {
  const { data } = context.getImageData(...box);
  let darkest = 0;
  for (let i = 4; i < data.length; i += 4) {
    if (data[i] + data[i + 1] + data[i + 2] < data[darkest] + data[darkest + 1] + data[darkest + 2]) darkest = i;
  }
  return data.slice(darkest, darkest + 3);
}

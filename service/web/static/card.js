// A model's card: facts, what was measured beside other methods, licence of the data, pictures.

import { get, key } from "./service.js";
import { isTranslated, nameOf, say } from "./words.js";

const $ = (id) => document.getElementById(id);
const FIRST = ["before-after.png", "reconstructions.png", "denoising-gaussian.png"]; // shown at once
const LONG = 240; // characters of a licence; what is longer can be unfolded

/** An element: make("td", {className: "own"}, "text", child, ...). */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { attributes = {}, ...others } = properties;
  Object.assign(element, others);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Text that a package brings, marked as English where it could not be translated. */
export function foreign(element, text) {
  element.textContent = nameOf(text);
  if (isTranslated(text)) element.removeAttribute("lang");
  else element.lang = "en";
}

export async function showCard(model, stillWanted) {
  facts(model);
  tables(model);
  const path = `v1/models/${model.name}/versions/${model.version}/files`;
  let files = [];
  try {
    ({ files } = await get(path));
  } catch {
    // a card without pictures is a card all the same
  }
  if (stillWanted()) pictures(path, files);
}

function facts(model) {
  const { ports, training } = model;
  const [, height, width, channels] = ports.image?.shape ?? [];
  const sample = ports.image
    ? `${typeof height === "number" ? say("pixels", { w: width, h: height }) : say("anySize")}, ${say(channels === 1 ? "grey" : "colour")}`
    : say("numbers", { n: ports.vector?.shape[1] });
  const rows = [
    ["kind", nameOf(model.kind)],
    ["operations", model.operations.map(nameOf).join(", ")],
    ["input", sample],
  ];
  if (ports.latent) {
    const shape = ports.latent.shape.slice(1);
    const n = shape.reduce((product, axis) => product * axis, 1);
    const axes = shape.join(" × ");
    const numbers = say("latentNumbers", { n: n.toLocaleString() });
    rows.push(["latent", Number.isFinite(n) ? (shape.length > 1 ? `${numbers} (${axes})` : numbers) : axes]);
  }
  const licence = make("span", { lang: "en" }, training.data.licence);
  const unfolded = make("details", { className: "long" },
    make("summary", {}, make("span", { lang: "en" }, `${training.data.licence.slice(0, LONG).replace(/\s\S*$/, "")} …`)), licence);
  unfolded.addEventListener("toggle", () => (unfolded.querySelector("summary").hidden = unfolded.open));
  rows.push(
    ["runs", `${model.provider}, ${model.precision}`],
    ["version", String(model.version)],
    ["trained", say("samples", { n: training.data.train.toLocaleString(), source: training.data.source })],
    ["licence", training.data.licence.length > LONG + 60 ? unfolded : licence],
    ["made", say("recipe", { recipe: training.recipe, date: training.date.replaceAll("-", "\u2011") })],
  );
  $("card-facts").replaceChildren(...rows.flatMap(([word, value]) => [make("dt", {}, say(word)), make("dd", {}, value)]));
}

function tables(model) {
  const units = Map.groupBy
    ? Map.groupBy(Object.entries(model.evaluation), ([, metric]) => metric.unit)
    : grouped(Object.entries(model.evaluation));
  const made = [...units].map(([unit, metrics]) => {
    const others = [...new Set(metrics.flatMap(([, metric]) => Object.keys(metric.baselines)))];
    const head = make("tr", {},
      make("td"), make("th", { scope: "col", className: "own" }, say("thisModel")),
      ...others.map((name) => make("th", { scope: "col" }, nameOf(name))));
    const body = metrics.map(([name, metric]) => make("tr", {},
      make("th", { scope: "row" }, nameOf(words(name))),
      make("td", { className: "own" }, short(metric.value)),
      ...others.map((other) => make("td", {}, short(metric.baselines[other])))));
    const caption = make("caption", {}, say("unit", { unit: nameOf(unit) }));
    return make("div", { className: "table", tabIndex: 0, attributes: { role: "region", "aria-label": say("table", { unit: nameOf(unit) }) } },
      make("table", {}, caption, make("thead", {}, head), make("tbody", {}, ...body)));
  });
  $("card-tables").replaceChildren(...made);
}

function grouped(entries) {
  const units = new Map();
  for (const entry of entries) units.set(entry[1].unit, [...(units.get(entry[1].unit) ?? []), entry]);
  return units;
}

/** denoising_psnr_cbsd68_in_grey_15 -> denoising PSNR CBSD68 in grey 15 */
const words = (name) => name.replaceAll("_", " ").replace(/\b(psnr|mse|rmse|cbsd68)\b/g, (word) => word.toUpperCase()).replace("set12", "Set12");

const short = (value) => (value === undefined ? "–" : value === 0 ? "0" : value.toPrecision(4));

async function pictures(path, files) {
  const first = FIRST.filter((name) => files.includes(name));
  const rest = files.filter((name) => !first.includes(name));
  const parts = [];
  if (first.length) {
    parts.push(make("h3", {}, say("pictures")), make("div", { className: "pictures main" }, ...first.map((name) => figure(path, name))));
  }
  if (rest.length) {
    const more = make("details", {}, make("summary", {}, say(first.length ? "more" : "pictures")),
      make("div", { className: "pictures" }, ...rest.map((name) => figure(path, name))));
    parts.push(more);
  }
  $("card-pictures").replaceChildren(...parts);
}

function figure(path, name) {
  const address = new URL(`${path}/${name}`, document.baseURI).href;
  const caption = make("figcaption");
  foreign(caption, name);
  const image = make("img", { loading: "lazy", decoding: "async", alt: nameOf(name) });
  if (key.get()) throughKey(image, `${path}/${name}`);
  else image.src = address;
  const link = make("a", { href: address, attributes: { "aria-label": `${nameOf(name)}, ${say("openPicture")}` } }, image);
  return make("figure", {}, link, caption);
}

/** An <img> sends no key: where the service asks for one, the picture is fetched with it. */
async function throughKey(image, path) {
  const response = await fetch(new URL(path, document.baseURI), { headers: { Authorization: `Bearer ${key.get()}` } });
  if (response.ok) image.src = URL.createObjectURL(await response.blob());
}

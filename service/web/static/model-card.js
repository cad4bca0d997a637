// A model's card: facts, measurements next to baselines, licence of the data, pictures.

import { apiKey, getJson } from "./api.js";
import { $, createElement } from "./dom.js";
import { translateFigure } from "./figure-labels.js";
import { isTranslated, t, translateName } from "./translations.js";

const MAIN_PICTURES = ["before-after.webp", "before-after.png", "reconstructions.png", "denoising-gaussian.png"]; // the others are folded
const LICENCE_LENGTH = 240; // characters; the rest of a longer licence is folded

/** Show text that a package brings, marked as English if there is no translation. */
export function setPackageText(element, text) {
  element.textContent = translateName(text);
  if (isTranslated(text)) element.removeAttribute("lang");
  else element.lang = "en";
}

/** Show a model's card; `isCurrent` says whether the model is still selected once the list of pictures has arrived. */
export async function showCard(model, isCurrent) {
  showFacts(model);
  showTables(model);
  const path = `v1/models/${model.name}/versions/${model.version}/files`;
  let files = [];
  let labels = {};
  try {
    ({ files, labels = {} } = await getJson(path));
  } catch {
    // the card is shown without pictures
  }
  if (isCurrent()) showPictures(path, files, labels);
}

function showFacts(model) {
  const { ports } = model;
  const rows = [
    ["kind", translateName(model.kind)],
    ["operations", model.operations.map(translateName).join(", ")],
    ["input", formatInput(ports)],
  ];
  if (ports.latent) rows.push(["latent", formatLatent(ports.latent)]);
  rows.push(
    ["runsOn", `${model.provider}, ${model.precision}`],
    ["version", String(model.version)],
    ...describeOrigin(model),
  );
  if (model.shortfalls.length) {
    rows.push(["shortfalls", createElement("ul", {}, ...model.shortfalls.map((sentence) => {
      const item = createElement("li");
      setPackageText(item, sentence);
      return item;
    }))]);
  }
  $("card-facts").replaceChildren(
    ...rows.flatMap(([key, value]) => [createElement("dt", {}, t(key)), createElement("dd", {}, value)]));
}

/** Rows on where the weights come from: trained by a recipe, or imported from files. */
function describeOrigin({ training, imported }) {
  const keepTogether = (date) => date.replaceAll("-", "\u2011");
  if (!training) {
    const files = Object.keys(imported.files).join(", ");
    return [
      ["licence", createLicence(imported.licence)],
      ["origin", t("importedFrom", { files, date: keepTogether(imported.date) })],
    ];
  }
  const { licence, train, source } = training.data;
  return [
    ["trainedOn", t("samples", { n: train.toLocaleString(), source })],
    ["licence", createLicence(licence)],
    ["origin", t("recipe", { recipe: training.recipe, date: keepTogether(training.date) })],
  ];
}

function formatInput({ image, vector }) {
  if (!image) return t("numbers", { n: vector?.shape[1] });
  const [, height, width, channels] = image.shape;
  const size = typeof height === "number" ? t("pixels", { w: width, h: height }) : t("anySize");
  return `${size}, ${t(channels === 1 ? "grey" : "colour")}`;
}

function formatLatent(port) {
  const shape = port.shape.slice(1);
  const axes = shape.join(" × ");
  const count = shape.reduce((product, axis) => product * axis, 1);
  if (!Number.isFinite(count)) return axes;
  const numbers = t("latentNumbers", { n: count.toLocaleString() });
  return shape.length > 1 ? `${numbers} (${axes})` : numbers;
}

/** The licence's text; if it is long, folded behind its first words. */
function createLicence(licence) {
  const text = createElement("span", { lang: "en" }, licence);
  if (licence.length <= LICENCE_LENGTH + 60) return text;
  const summary = createElement("summary", {},
    createElement("span", { lang: "en" }, `${licence.slice(0, LICENCE_LENGTH).replace(/\s\S*$/, "")} …`));
  const details = createElement("details", { className: "licence" }, summary, text);
  details.addEventListener("toggle", () => (summary.hidden = details.open));
  return details;
}

/** A table for each unit: metrics as rows, this model and its baselines as columns. */
function showTables(model) {
  const tables = [...groupByUnit(Object.entries(model.evaluation))].map(([unit, metrics]) => {
    const baselines = [...new Set(metrics.flatMap(([, metric]) => Object.keys(metric.baselines)))];
    const head = createElement("tr", {},
      createElement("td"), createElement("th", { scope: "col", className: "this-model" }, t("thisModel")),
      ...baselines.map((name) => createElement("th", { scope: "col" }, translateName(name))));
    const rows = metrics.map(([name, metric]) => createElement("tr", {},
      createElement("th", { scope: "row" }, translateName(metricLabel(name))),
      createElement("td", { className: "this-model" }, formatValue(metric.value)),
      ...baselines.map((baseline) => createElement("td", {}, formatValue(metric.baselines[baseline])))));
    const caption = createElement("caption", {}, [t("unit", { unit: translateName(unit) }), direction(unit, metrics)].filter(Boolean).join(" · "));
    const label = t("table", { unit: translateName(unit) });
    return createElement("div", { className: "table", tabIndex: 0, attributes: { role: "region", "aria-label": label } },
      createElement("table", {}, caption, createElement("thead", {}, head), createElement("tbody", {}, ...rows)));
  });
  $("card-tables").replaceChildren(...tables);
}

/** "smaller is better" for errors, "larger is better" for ratios in dB, "" for what is neither. */
function direction(unit, metrics) {
  if (/\bdB\b/i.test(unit)) return t("largerBetter");
  const isError = metrics.every(([name]) => /(^|_)(r?mse|error)(_|$)/.test(name));
  return isError ? t("smallerBetter") : "";
}

/** Map from unit to [name, metric] entries; Map.groupBy is not in all browsers yet. */
function groupByUnit(entries) {
  const groups = new Map();
  for (const entry of entries) groups.set(entry[1].unit, [...(groups.get(entry[1].unit) ?? []), entry]);
  return groups;
}

/** denoising_psnr_cbsd68_in_grey_15 -> denoising PSNR CBSD68 in grey 15 */
const metricLabel = (name) => name.replaceAll("_", " ").replace(/\b(psnr|mse|rmse|cbsd68)\b/g, (word) => word.toUpperCase()).replace("set12", "Set12");

const formatValue = (value) => (value === undefined ? "–" : value === 0 ? "0" : value.toPrecision(4));

function showPictures(path, files, labels) {
  const create = (name) => createFigure(path, name, labels[name] ?? []);
  const main = MAIN_PICTURES.filter((name) => files.includes(name));
  const others = files.filter((name) => !main.includes(name));
  const parts = [];
  if (main.length) {
    parts.push(createElement("h3", {}, t("pictures")),
      createElement("div", { className: "pictures main" }, ...main.map(create)));
  }
  if (others.length) {
    parts.push(createElement("details", {}, createElement("summary", {}, t(main.length ? "morePictures" : "pictures")),
      createElement("div", { className: "pictures" }, ...others.map(create))));
  }
  $("card-pictures").replaceChildren(...parts);
}

function createFigure(path, name, labels) {
  const url = new URL(`${path}/${name}`, document.baseURI).href;
  const caption = createElement("figcaption");
  setPackageText(caption, name);
  const image = createElement("img", { loading: "lazy", decoding: "async", alt: translateName(name) });
  const link = createElement("a", { href: url, attributes: { "aria-label": `${translateName(name)}, ${t("openPicture")}` } }, image);
  translateFigure(image, link, name, labels);
  if (apiKey.get()) loadWithKey(image, url);
  else image.src = url;
  return createElement("figure", {}, link, caption);
}

/** An <img> sends no API key: if there is one, fetch the picture with it. */
async function loadWithKey(image, url) {
  const response = await fetch(url, { headers: { Authorization: `Bearer ${apiKey.get()}` } });
  if (response.ok) image.src = URL.createObjectURL(await response.blob());
}

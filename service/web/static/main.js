// The page: selects a model, the view for it (a file, a drawing, or only the card) and the language.

import { getJson, apiKey, ServiceError } from "./api.js";
import { $, createElement } from "./dom.js";
import { DrawingView, MAX_SIDE } from "./drawing-view.js";
import { readChosenFiles, readTransfer } from "./dropped-files.js";
import { FileView } from "./file-view.js";
import { setPackageText, showCard } from "./model-card.js";
import { paint } from "./pixels.js";
import { currentLanguage, LANGUAGES, preferredLanguage, setLanguage, t, setPackageTranslations, translateModelName, translatePage } from "./translations.js";
import { VectorView } from "./vector-view.js";

const GROUPS = ["groupAny", "groupFixed", "groupVector"];

let models = []; // of GET /v1/models/<name>
let rejectedPackages = [];
let model = null;
let view = null;
let retryAction = null;

const fileView = new FileView(showError, showCurl);
const drawingView = new DrawingView(showError, showCurl);
const vectorView = new VectorView(showError, showCurl);

// --- models ------------------------------------------------------------------------------------------------

async function loadModels() {
  try {
    const list = await getJson("v1/models");
    rejectedPackages = list.refused;
    models = await Promise.all(list.models.map(({ name }) => getJson(`v1/models/${encodeURIComponent(name)}`)));
    showError(null);
  } catch (error) {
    $("models").replaceChildren();
    return showError(error, loadModels);
  }
  const ordered = GROUPS.flatMap((group) => models.filter((candidate) => groupOf(candidate) === group));
  model = modelInAddress() ?? ordered[0] ?? null;
  showModels();
  if (model) selectModel(model);
}

const modelInAddress = () => models.find(({ name }) => name === decodeURIComponent(location.hash.slice(1)));

function groupOf({ ports }) {
  if (!ports.image) return "groupVector";
  return typeof ports.image.shape[1] === "number" ? "groupFixed" : "groupAny";
}

function showModels() {
  const groups = GROUPS.map((group) => [group, models.filter((candidate) => groupOf(candidate) === group)]);
  $("models").replaceChildren(...groups.filter(([, members]) => members.length).map(([group, members]) => createElement("div", {},
    createElement("p", { className: "group-title" }, t(group)),
    createElement("div", { className: "tiles" }, ...members.map((member) => {
      const input = createElement("input", { type: "radio", name: "model", value: member.name, checked: member === model });
      input.addEventListener("change", () => selectModel(member));
      return createElement("label", { className: "tile" }, input, createElement("span", {}, translateModelName(member.name)));
    })))));
  if (!models.length) $("models").replaceChildren(createElement("p", { className: "note" }, t("noModels")));
  $("rejected-packages").replaceChildren(
    ...rejectedPackages.map(({ folder, reason }) => createElement("p", {}, t("rejected", { folder, reason }))));
}

function selectModel(selected) {
  model = selected;
  history.replaceState(null, "", `#${encodeURIComponent(model.name)}`);
  showError(null);
  view?.deactivate();
  view = viewFor(model);
  $("file-view").hidden = view !== fileView;
  $("drawing-view").hidden = view !== drawingView;
  $("vector-view").hidden = view !== vectorView;
  $("stage").hidden = $("card").hidden = false;
  view.setModel(model);
  showModelText();
}

/** The view for a model's input. */
function viewFor({ ports: { image }, operations }) {
  if (!image) return vectorView;
  const [height, width, channels] = image.shape.slice(1);
  const isDrawable = channels === 1 && height <= MAX_SIDE && width <= MAX_SIDE;
  return isDrawable && ["denoise", "reconstruct"].some((name) => operations.includes(name)) ? drawingView : fileView;
}

function showModelText() {
  setPackageTranslations(model.translations);
  $("model-name").textContent = translateModelName(model.name);
  setPackageText($("model-description"), model.description);
  const displayed = model;
  showCard(model, () => model === displayed);
}

// --- errors ------------------------------------------------------------------------------------------------

/** Show an error; null hides it. `retry` is the action of the button, if another attempt makes sense. */
function showError(error, retry = null) {
  $("error").hidden = error === null;
  if (error === null) return;
  if (!(error instanceof ServiceError)) console.error(error); // a bug of the page
  retryAction = retry;
  $("error-message").textContent = error.sentence ?? error.message;
  $("error-message").hidden = error.sentence === "";
  $("error-detail").textContent = error.detail ?? "";
  $("key-form").hidden = error.status !== 401;
  $("retry").hidden = retry === null || error.status === 401;
}

$("retry").addEventListener("click", () => retryAction?.());
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  apiKey.set($("key").value);
  if (retryAction) retryAction();
  else loadModels();
});

// --- the curl line -----------------------------------------------------------------------------------------

/** Show the line; `drawing` is the picture that it sends, to be saved as drawing.png. */
function showCurl(line, drawing = null) {
  $("curl").textContent = line;
  $("save-drawing").hidden = drawing === null;
  if (drawing) {
    const canvas = document.createElement("canvas");
    paint(canvas, drawing);
    $("save-drawing").href = canvas.toDataURL("image/png");
  }
}

$("copy").addEventListener("click", async () => {
  const line = $("curl").textContent;
  try {
    await navigator.clipboard.writeText(line);
  } catch {
    // no secure context: select the line, so that the keyboard can copy it
    getSelection().selectAllChildren($("curl"));
    document.execCommand("copy");
  }
  $("copy").textContent = $("announcement").textContent = t("copied");
  setTimeout(() => {
    $("copy").textContent = t("copy");
    $("announcement").textContent = "";
  }, 1600);
});

// --- dropping and pasting, anywhere on the page ------------------------------------------------------------

/** Open [{file, path}]: all of them, or the first image where the view is of one drawing. */
function openFiles(files) {
  if (!view || !files.length) return;
  if (view === fileView) view.openFiles(files);
  else view.openFile((files.find(({ file }) => file.type.startsWith("image/")) ?? files[0]).file);
}

let dragDepth = 0; // dragenter and dragleave come from every element under the pointer
addEventListener("dragenter", () => document.body.classList.toggle("is-dragging", ++dragDepth > 0));
addEventListener("dragleave", () => document.body.classList.toggle("is-dragging", --dragDepth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  dragDepth = 0;
  document.body.classList.remove("is-dragging");
  openFiles(await readTransfer(event.dataTransfer));
});
addEventListener("paste", (event) => {
  if (event.target.closest?.("input")) return;
  if (event.clipboardData.files.length) openFiles(readChosenFiles(event.clipboardData.files));
  else if (view?.openText && event.clipboardData.getData("text/plain").trim()) view.openText(event.clipboardData.getData("text/plain"));
});
addEventListener("hashchange", () => {
  const requested = modelInAddress();
  if (requested && requested !== model) {
    selectModel(requested);
    showModels();
  }
});

// --- language ----------------------------------------------------------------------------------------------

function showLanguage(code) {
  setLanguage(code);
  translatePage();
  $("languages").replaceChildren(...Object.entries(LANGUAGES).map(([lang, name]) => {
    const button = createElement("button", { type: "button", lang, attributes: { "aria-pressed": String(lang === currentLanguage()) } }, name);
    button.addEventListener("click", () => {
      localStorage.setItem("language", lang);
      showLanguage(lang);
      $("languages").querySelector(`[lang="${lang}"]`).focus();
    });
    return button;
  }));
  if (!model) return;
  showModels();
  showModelText();
  view.updateText();
}

showLanguage(preferredLanguage());
loadModels();

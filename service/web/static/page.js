// The page: which model, which stage (a file, a drawing, or only the card), which language.

import { foreign, make, showCard } from "./card.js";
import { DrawStage, LARGEST } from "./drawstage.js";
import { FileStage } from "./filestage.js";
import { paint } from "./pixels.js";
import { curlJson, get, key, Refused } from "./service.js";
import { chooseLanguage, currentLanguage, fillWords, LANGUAGES, nameOf, preferredLanguage, say } from "./words.js";

const $ = (id) => document.getElementById(id);
const GROUPS = ["groupAny", "groupFixed", "groupVector"];

let models = []; // facts of each
let refused = [];
let model = null;
let stage = null;
let retry = null;

const files = new FileStage(trouble, command);
const drawings = new DrawStage(trouble, command);

// --- models ------------------------------------------------------------------------------------------------

async function load() {
  try {
    const list = await get("v1/models");
    refused = list.refused;
    models = await Promise.all(list.models.map(({ name }) => get(`v1/models/${encodeURIComponent(name)}`)));
    trouble(null);
  } catch (error) {
    $("models").replaceChildren();
    return trouble(error, load);
  }
  const wanted = models.find(({ name }) => name === decodeURIComponent(location.hash.slice(1)));
  const ordered = GROUPS.flatMap((group) => models.filter((each) => groupOf(each) === group));
  model = wanted ?? ordered[0] ?? null;
  showModels();
  if (model) use(model);
}

function groupOf({ ports }) {
  if (!ports.image) return "groupVector";
  return typeof ports.image.shape[1] === "number" ? "groupFixed" : "groupAny";
}

function showModels() {
  const groups = GROUPS.map((group) => [group, models.filter((each) => groupOf(each) === group)]).filter(([, all]) => all.length);
  $("models").replaceChildren(...groups.map(([group, all]) => make("div", {},
    make("p", { className: "group-title" }, say(group)),
    make("div", { className: "tiles" }, ...all.map((each) => {
      const input = make("input", { type: "radio", name: "model", value: each.name, checked: each === model });
      input.addEventListener("change", () => use(each));
      return make("label", { className: "tile" }, input, make("span", {}, nameOf(each.name)));
    })))));
  if (!models.length) $("models").replaceChildren(make("p", { className: "note" }, say("noModels")));
  $("refused").replaceChildren(...refused.map(({ folder, reason }) => make("p", {}, say("refused", { folder, reason }))));
}

function use(chosen) {
  model = chosen;
  history.replaceState(null, "", `#${encodeURIComponent(model.name)}`);
  trouble(null);
  stage?.leave();
  const { image } = model.ports;
  const [height, width, channels] = image?.shape.slice(1) ?? [];
  const drawable = channels === 1 && height <= LARGEST && width <= LARGEST && ["denoise", "reconstruct"].some((each) => model.operations.includes(each));
  stage = !image ? null : drawable ? drawings : files;
  $("file-stage").hidden = stage !== files;
  $("draw-stage").hidden = stage !== drawings;
  $("vector-stage").hidden = stage !== null;
  $("stage").hidden = $("card").hidden = false;
  if (!stage) vectors();
  stage?.use(model);
  showModelWords();
}

function vectors() {
  const n = model.ports.vector.shape[1];
  $("vector-words").textContent = say("vector", { n });
  command(curlJson(`v1/models/${model.name}/${model.operations[0]}`, { inputs: [Array(n).fill(0)] }));
}

function showModelWords() {
  $("model-name").textContent = nameOf(model.name);
  foreign($("model-words"), model.description);
  const shown = model;
  showCard(model, () => model === shown);
}

// --- what went wrong ---------------------------------------------------------------------------------------

/** Show a refusal, or null: all is well again. `again` is what the button tries, if trying again makes sense. */
function trouble(error, again = null) {
  $("trouble").hidden = error === null;
  if (error === null) return;
  if (!(error instanceof Refused)) console.error(error); // a bug of the page
  retry = again;
  $("trouble-words").textContent = error.sentence ?? error.message;
  $("trouble-words").hidden = error.sentence === "";
  $("trouble-detail").textContent = error.detail ?? "";
  $("key-form").hidden = error.status !== 401;
  $("retry").hidden = again === null || error.status === 401;
}

$("retry").addEventListener("click", () => retry?.());
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set($("key").value);
  if (retry) retry();
  else load();
});

// --- the curl line -----------------------------------------------------------------------------------------

/** Show the line; `drawing` is the picture that it sends, to be saved as drawing.png. */
function command(line, drawing = null) {
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
    // no secure context: select it, so that a key copies it
    getSelection().selectAllChildren($("curl"));
    document.execCommand("copy");
  }
  $("copy").textContent = $("said").textContent = say("copied");
  setTimeout(() => {
    $("copy").textContent = say("copy");
    $("said").textContent = "";
  }, 1600);
});

// --- dropping and pasting, anywhere on the page ------------------------------------------------------------

function take(list) {
  const file = [...list].find((each) => each.type.startsWith("image/")) ?? list[0];
  if (file && stage) stage.take(file);
}

let inside = 0;
addEventListener("dragenter", () => document.body.classList.toggle("dragging", ++inside > 0));
addEventListener("dragleave", () => document.body.classList.toggle("dragging", --inside > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  if (event.target.closest?.("input")) return;
  if (event.clipboardData.files.length) take(event.clipboardData.files);
});
addEventListener("hashchange", () => {
  const wanted = models.find(({ name }) => name === decodeURIComponent(location.hash.slice(1)));
  if (wanted && wanted !== model) {
    use(wanted);
    showModels();
  }
});

// --- language ----------------------------------------------------------------------------------------------

function speak(code) {
  chooseLanguage(code);
  fillWords();
  $("languages").replaceChildren(...Object.entries(LANGUAGES).map(([each, name]) => {
    const button = make("button", { type: "button", lang: each, attributes: { "aria-pressed": String(each === currentLanguage()) } }, name);
    button.addEventListener("click", () => {
      localStorage.setItem("language", each);
      speak(each);
      $("languages").querySelector(`[lang="${each}"]`).focus();
    });
    return button;
  }));
  if (!model) return;
  showModels();
  showModelWords();
  if (stage) stage.words();
  else vectors();
}

speak(preferredLanguage());
load();

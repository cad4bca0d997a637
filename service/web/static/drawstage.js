// Drawings of one size: drawn, encoded, reconstructed (or given noise and denoised) as the pen moves.

import { Bars } from "./bars.js";
import { Pad } from "./pad.js";
import { blank, fitted, grey, meanSquaredError, nested, paint, unnested, withNoise } from "./pixels.js";
import { curlFile, curlJson, latest, post, Refused } from "./service.js";
import { Walk } from "./walk.js";
import { say } from "./words.js";

const $ = (id) => document.getElementById(id);
const SAMPLE = 28; // pixels along a side of each drawing in drawings.png
export const LARGEST = 64; // pixels along a side that can be drawn by hand
const MOST_BARS = 64;

export class DrawStage {
  constructor(trouble, command) {
    Object.assign(this, { trouble, command, model: null, samples: [], moved: false, seed: 1, told: null, shown: null });
    this.ask = latest((error) => this.#failed(error));
    this.pad = new Pad($("pad"), $("cursor"), $("pen"), () => this.#drawn());
    this.bars = new Bars($("bars"), (values) => this.#decode(values));
    this.walk = new Walk(trouble);
    $("undo").addEventListener("click", () => this.pad.undo());
    $("clear").addEventListener("click", () => this.pad.clear());
    $("invert").addEventListener("click", () => this.pad.invert());
    $("reset").addEventListener("click", () => this.#drawn());
    $("open").addEventListener("change", (event) => {
      if (event.target.files[0]) this.take(event.target.files[0]);
      event.target.value = "";
    });
    $("sigma").addEventListener("input", () => this.#drawn());
    $("renoise").addEventListener("click", () => {
      this.seed += 1;
      this.#drawn();
    });
    $("use-from").addEventListener("click", () => this.walk.from(this.pad.picture));
    $("use-to").addEventListener("click", () => this.walk.to(this.pad.picture));
  }

  async use(model) {
    this.model = model;
    const [height, width] = model.ports.image.shape.slice(1, 3);
    const latent = model.ports.latent?.shape.slice(1) ?? [];
    const count = latent.length === 1 ? latent[0] : Infinity;
    this.noisy = model.operations.includes("denoise");
    this.numbers = !this.noisy && count <= MOST_BARS && model.operations.includes("encode") && model.operations.includes("decode");
    $("noise-pane").hidden = !this.noisy;
    $("numbers-pane").hidden = !this.numbers;
    $("walk").hidden = !this.numbers;
    document.querySelector("#draw-stage .flow").classList.toggle("with-noise", this.noisy);
    if (this.numbers) this.bars.reset(count);
    this.pad.resize(height, width);
    this.samples = await samplesOf(height, width);
    if (this.model !== model) return;
    this.#showSamples();
    if (!this.pad.canUndo && this.samples.length) {
      this.pad.load(this.samples[0]);
      this.pad.past.length = 0;
    }
    this.words();
    this.#drawn();
    if (this.numbers && this.samples.length > 1) await this.walk.use(model, this.samples[0], this.samples[2]);
  }

  leave() {
    this.model = null;
  }

  async take(file) {
    try {
      this.pad.load(await fitted(file, this.pad.height, this.pad.width));
      this.trouble(null);
    } catch {
      this.trouble(new Refused(say("notImage")));
    }
  }

  words() {
    if (!this.model) return;
    $("numbers-title").textContent = say("numbers", { n: this.bars.values.length });
    $("sigma-value").textContent = say("noiseValue", { n: Number($("sigma").value).toFixed(2) });
    this.bars.label();
    this.walk.words();
    this.#showSamples();
    this.#tell();
  }

  #drawn() {
    const { model } = this;
    if (!model) return;
    this.moved = false;
    $("reset").disabled = true;
    $("undo").disabled = !this.pad.canUndo;
    this.ask(() => this.#answer(model));
  }

  async #answer(model) {
    const picture = this.pad.picture;
    const empty = picture.data.every((value) => value === 0);
    for (const [id, still] of [["pad-empty", empty], ["drawn-empty", empty]]) $(id).hidden = !still;
    for (const id of ["clear", "invert", "use-from", "use-to"]) $(id).disabled = empty;
    if (empty) return this.#nothing();
    const path = `v1/models/${model.name}`;
    if (this.noisy) {
      const noisy = withNoise(picture, Number($("sigma").value), this.seed);
      const { response, seconds } = await post(`${path}/denoise`, { inputs: nested(noisy) });
      const denoised = unnested((await response.json()).outputs[0]);
      if (this.model !== model) return;
      paint($("noisy"), noisy);
      this.told = { seconds, before: meanSquaredError(picture, noisy), after: meanSquaredError(picture, denoised) };
      this.#show(denoised);
      this.sent = noisy;
      this.command(curlFile(`${path}/denoise`, "drawing.png", `denoised.png`), noisy);
    } else {
      const inputs = nested(picture);
      const [encoded, rebuilt] = await Promise.all([
        this.numbers ? post(`${path}/encode`, { inputs }) : null,
        post(`${path}/reconstruct`, { inputs }),
      ]);
      const { outputs, reconstruction_error: error, percentile } = await rebuilt.response.json();
      const latents = encoded && (await encoded.response.json()).latents[0];
      if (this.model !== model || this.moved) return;
      if (latents) this.bars.show(latents);
      this.told = { seconds: rebuilt.seconds, error: error[0], percentile: percentile[0] };
      this.#show(unnested(outputs[0]));
      this.command(curlFile(`${path}/reconstruct`, "drawing.png", "reconstruction.png"), picture);
    }
    this.trouble(null);
    this.words();
  }

  #decode(values) {
    const { model } = this;
    this.moved = true;
    $("reset").disabled = false;
    this.ask(async () => {
      const question = { latents: [values.map((value) => Number(value.toPrecision(5)))], model: model.name, version: model.version };
      const path = `v1/models/${model.name}/decode`;
      const { response, seconds } = await post(path, question);
      const { outputs } = await response.json();
      if (this.model !== model || !this.moved) return;
      this.told = { seconds };
      $("drawn-empty").hidden = true;
      this.#show(unnested(outputs[0]));
      this.command(curlJson(path, { latents: question.latents }, "decoded.png"));
      this.trouble(null);
      this.words();
    });
  }

  #nothing() {
    this.told = null;
    blank($("drawn"));
    blank($("noisy"));
    if (this.numbers) this.bars.show(null);
    $("save").removeAttribute("href");
    $("save").setAttribute("aria-disabled", "true");
    this.#tell();
  }

  #show(picture) {
    paint($("drawn"), picture);
    $("save").href = $("drawn").toDataURL("image/png");
    $("save").download = `${this.model.name}.png`;
    $("save").removeAttribute("aria-disabled");
  }

  #tell() {
    const { told } = this;
    const title = this.noisy ? "denoised" : this.moved ? "decoded" : "reconstruction";
    $("drawn-title").textContent = say(title);
    $("drawn-time").textContent = told ? say("answeredIn", { s: told.seconds.toFixed(3) }) : "";
    let sentence = "";
    if (told?.before !== undefined) {
      sentence = say("toldNoise", { before: told.before.toFixed(4), after: told.after.toFixed(4) });
    } else if (told?.error !== undefined) {
      sentence = say("told", { error: told.error.toFixed(4), percentile: Math.round(told.percentile) });
    } else if (told) {
      sentence = say("toldMoved");
    }
    if ($("told").textContent !== sentence) $("told").textContent = sentence;
  }

  #showSamples() {
    document.querySelector(".samples").hidden = this.samples.length === 0;
    $("samples").replaceChildren(...this.samples.map((picture, n) => {
      const button = document.createElement("button");
      const canvas = document.createElement("canvas");
      Object.assign(button, { type: "button", className: "thumb" });
      button.setAttribute("aria-label", say("exampleN", { n: n + 1 }));
      button.addEventListener("click", () => this.pad.load(picture));
      paint(canvas, picture);
      button.append(canvas);
      return button;
    }));
  }

  #failed(error) {
    this.trouble(error, () => this.#drawn());
  }
}

/** The drawings to start from; none for models of another size. */
async function samplesOf(height, width) {
  if (height !== SAMPLE || width !== SAMPLE) return [];
  const image = new Image();
  image.src = new URL("page/drawings.png", document.baseURI);
  await image.decode();
  const all = grey(image, SAMPLE, image.naturalWidth);
  return Array.from({ length: image.naturalWidth / SAMPLE }, (_, n) => {
    const data = new Uint8Array(SAMPLE * SAMPLE);
    for (let y = 0; y < SAMPLE; y++) {
      const start = y * image.naturalWidth + n * SAMPLE;
      data.set(all.subarray(start, start + SAMPLE), y * SAMPLE);
    }
    return { height: SAMPLE, width: SAMPLE, data };
  });
}

// The view of drawings of one size: each change of the drawing is encoded and reconstructed (or given noise and denoised).

import { curlFile, curlJson, curlPost, latestOnly, post, ServiceError } from "./api.js";
import { $ } from "./dom.js";
import { DrawingPad } from "./drawing-pad.js";
import { loadExamples } from "./examples.js";
import { Interpolation } from "./interpolation.js";
import { LatentSliders } from "./latent-sliders.js";
import { NearestPictures } from "./nearest-pictures.js";
import { addNoise, clearCanvas, fitDrawing, fromNested, meanSquaredError, paint, toGrey, toNested } from "./pixels.js";
import { t } from "./translations.js";

export const MAX_SIDE = 64; // pixels along a side that can be drawn by hand
const SAMPLE_SIDE = 28; // pixels along a side of each drawing in drawings.png
const MAX_SLIDERS = 64;
const FALSE_ALARM_RATE = 0.05; // of the verdict; the sentences isUnusual and isUsual name it

export class DrawingView {
  /** `showError(error, retry)` and `showCurl(line, drawing)` are functions of the page. */
  constructor(showError, showCurl) {
    Object.assign(this, { showError, showCurl, model: null, samples: [], isLatentEdited: false, seed: 1, stats: null });
    this.runLatest = latestOnly((error) => showError(error, () => this.#update()));
    this.pad = new DrawingPad($("pad"), $("cursor"), $("pen-status"), () => this.#update());
    this.sliders = new LatentSliders($("sliders"), (values) => this.#decodeLatent(values));
    this.interpolation = new Interpolation(showError);
    this.nearest = new NearestPictures($("nearest"), (picture) => this.pad.setPicture(picture));
    $("undo").addEventListener("click", () => this.pad.undo());
    $("clear").addEventListener("click", () => this.pad.clear());
    $("invert").addEventListener("click", () => this.pad.invert());
    $("reset-latent").addEventListener("click", () => this.#update());
    $("draw-new").addEventListener("click", () => this.#drawNew());
    $("drawing-input").addEventListener("change", (event) => {
      if (event.target.files[0]) this.openFile(event.target.files[0]);
      event.target.value = "";
    });
    $("sigma").addEventListener("input", () => this.#update());
    $("new-noise").addEventListener("click", () => {
      this.seed += 1;
      this.#update();
    });
    $("use-as-start").addEventListener("click", () => this.interpolation.setStart(this.pad.picture));
    $("use-as-end").addEventListener("click", () => this.interpolation.setEnd(this.pad.picture));
  }

  async setModel(model) {
    this.model = model;
    const [height, width] = model.ports.image.shape.slice(1, 3);
    const latentShape = model.ports.latent?.shape.slice(1) ?? [];
    const latentSize = latentShape.length === 1 ? latentShape[0] : Infinity;
    this.isDenoiser = model.operations.includes("denoise");
    this.hasSliders = !this.isDenoiser && latentSize <= MAX_SLIDERS && ["encode", "decode"].every((name) => model.operations.includes(name));
    $("noise-pane").hidden = !this.isDenoiser;
    $("latent-pane").hidden = !this.hasSliders;
    $("draw-new").hidden = !this.hasSliders || !model.operations.includes("sample");
    $("interpolation").hidden = !this.hasSliders;
    document.querySelector("#drawing-view .flow").classList.toggle("with-noise", this.isDenoiser);
    if (this.hasSliders) this.sliders.reset(latentSize);
    this.nearest.setModel(model);
    this.pad.resize(height, width);
    this.samples = await loadSamples(model, height, width);
    if (this.model !== model) return;
    this.#showSamples();
    if (!this.pad.canUndo && this.samples.length) {
      this.pad.setPicture(this.samples[0]);
      this.pad.clearHistory();
    }
    this.updateText();
    this.#update();
    if (this.hasSliders && this.samples.length > 1) await this.interpolation.setModel(model, this.samples[0], this.samples[2] ?? this.samples[1]);
  }

  deactivate() {
    this.model = null;
  }

  async openFile(file) {
    try {
      this.pad.setPicture(await fitDrawing(file, this.pad.height, this.pad.width));
      this.showError(null);
    } catch {
      this.showError(new ServiceError(t("notImage")));
    }
  }

  updateText() {
    if (!this.model) return;
    $("draw-new").textContent = t(this.model.name.startsWith("cat") ? "drawCat" : "drawNew");
    $("latent-title").textContent = t("numbers", { n: this.sliders.values.length });
    $("sigma-value").textContent = t("noiseValue", { n: Number($("sigma").value).toFixed(2) });
    this.sliders.updateLabels();
    this.interpolation.updateText();
    this.nearest.updateText();
    this.#showSamples();
    this.#showStats();
  }

  /** The drawing, or the noise, has changed: compute the output again. */
  #update() {
    const { model } = this;
    if (!model) return;
    this.isLatentEdited = false;
    $("reset-latent").disabled = true;
    $("undo").disabled = !this.pad.canUndo;
    this.runLatest(() => this.#processDrawing(model));
  }

  async #processDrawing(model) {
    const { picture } = this.pad;
    const isEmpty = picture.data.every((value) => value === 0);
    for (const id of ["pad-hint", "output-hint"]) $(id).hidden = !isEmpty;
    for (const id of ["clear", "invert", "use-as-start", "use-as-end"]) $(id).disabled = isEmpty;
    if (isEmpty) this.#clearOutput();
    else if (this.isDenoiser) await this.#denoise(model, picture);
    else await this.#reconstruct(model, picture);
  }

  async #denoise(model, picture) {
    const path = `v1/models/${model.name}/denoise`;
    const noisy = addNoise(picture, Number($("sigma").value), this.seed);
    const { response, seconds } = await post(path, { inputs: toNested(noisy) });
    const denoised = fromNested((await response.json()).outputs[0]);
    if (this.model !== model) return;
    paint($("noisy-drawing"), noisy);
    this.stats = { seconds, before: meanSquaredError(picture, noisy), after: meanSquaredError(picture, denoised) };
    this.#showOutput(denoised, curlFile(path, "drawing.png", "denoised.png"), noisy);
  }

  async #reconstruct(model, picture) {
    const path = `v1/models/${model.name}`;
    const inputs = toNested(picture);
    const hasVerdict = model.score?.samples >= 1 / FALSE_ALARM_RATE;
    const [encoding, reconstruction, neighbours] = await Promise.all([
      this.hasSliders ? post(`${path}/encode`, { inputs }) : null,
      post(`${path}/reconstruct${hasVerdict ? `?false_alarm_rate=${FALSE_ALARM_RATE}` : ""}`, { inputs }),
      this.nearest.find(inputs),
    ]);
    const { outputs, reconstruction_error: error, percentile, unusual, score } = await reconstruction.response.json();
    const latent = encoding && (await encoding.response.json()).latents[0];
    if (this.model !== model || this.isLatentEdited) return;
    if (latent) this.sliders.setValues(latent);
    this.nearest.show(neighbours);
    this.stats = { seconds: reconstruction.seconds, error: error[0], percentile: percentile[0] };
    if (unusual) Object.assign(this.stats, { isUnusual: unusual[0], score });
    this.#showOutput(fromNested(outputs[0]), curlFile(`${path}/reconstruct`, "drawing.png", "reconstruction.png"), picture);
  }

  #decodeLatent(values) {
    const { model } = this;
    this.isLatentEdited = true;
    $("reset-latent").disabled = false;
    this.runLatest(async () => {
      const path = `v1/models/${model.name}/decode`;
      const latents = [values.map((value) => Number(value.toPrecision(5)))];
      const { response, seconds } = await post(path, { latents, model: model.name, version: model.version });
      const { outputs } = await response.json();
      if (this.model !== model || !this.isLatentEdited) return;
      this.stats = { seconds };
      $("output-hint").hidden = true;
      this.#showOutput(fromNested(outputs[0]), curlJson(path, { latents }, "decoded.png"));
    });
  }

  /** A new drawing, decoded from numbers that the service draws. */
  #drawNew() {
    const { model } = this;
    this.isLatentEdited = true;
    $("reset-latent").disabled = false;
    this.runLatest(async () => {
      const path = `v1/models/${model.name}/sample`;
      const { response, seconds } = await post(`${path}?count=1`, new Blob(), { accept: "application/json" });
      const { latents, outputs, seed } = await response.json();
      if (this.model !== model || !this.isLatentEdited) return;
      this.sliders.setValues(latents[0]);
      this.stats = { seconds, seed };
      $("output-hint").hidden = true;
      this.#showOutput(fromNested(outputs[0]), curlPost(`${path}?count=16&seed=${seed}`, "drawn.png"));
    });
  }

  #clearOutput() {
    this.stats = null;
    clearCanvas($("output"));
    clearCanvas($("noisy-drawing"));
    if (this.hasSliders) this.sliders.setValues(null);
    this.nearest.show([]);
    $("save-output").removeAttribute("href");
    $("save-output").setAttribute("aria-disabled", "true");
    this.#showStats();
  }

  #showOutput(picture, curlLine, drawing = null) {
    paint($("output"), picture);
    $("save-output").href = $("output").toDataURL("image/png");
    $("save-output").download = `${this.model.name}.png`;
    $("save-output").removeAttribute("aria-disabled");
    this.showCurl(curlLine, drawing);
    this.showError(null);
    this.updateText();
  }

  #showStats() {
    const { stats } = this;
    $("output-title").textContent = t(this.isDenoiser ? "denoised" : this.isLatentEdited ? "decoded" : "reconstruction");
    $("output-time").textContent = stats ? t("seconds", { s: stats.seconds.toFixed(3) }) : "";
    let sentence = "";
    if (stats?.before !== undefined) {
      sentence = t("noiseStats", { before: stats.before.toFixed(4), after: stats.after.toFixed(4) });
    } else if (stats?.error !== undefined) {
      sentence = t("errorStats", { error: stats.error.toFixed(4), percentile: Math.round(stats.percentile) });
      if (stats.score) sentence += ` ${t(stats.isUnusual ? "isUnusual" : "isUsual", { score: stats.score })}`;
    } else if (stats?.seed !== undefined) {
      sentence = t("drawnStats", { seed: stats.seed });
    } else if (stats) {
      sentence = t("latentStats");
    }
    if ($("stats").textContent !== sentence) $("stats").textContent = sentence; // else screen readers repeat it
  }

  #showSamples() {
    $("samples").parentElement.hidden = this.samples.length === 0;
    $("samples").replaceChildren(...this.samples.map((picture, index) => {
      const button = document.createElement("button");
      const canvas = document.createElement("canvas");
      Object.assign(button, { type: "button", className: "thumbnail" });
      button.setAttribute("aria-label", t("exampleN", { n: index + 1 }));
      button.addEventListener("click", () => this.pad.setPicture(picture));
      paint(canvas, picture);
      button.append(canvas);
      return button;
    }));
  }
}

/** The pictures to start from: of the package's own test split, else drawings of this size. */
async function loadSamples(model, height, width) {
  const examples = await loadExamples(model);
  if (examples) return examples.map(fromNested);
  if (height !== SAMPLE_SIDE || width !== SAMPLE_SIDE) return [];
  const image = new Image();
  image.src = new URL("page/drawings.png", document.baseURI);
  await image.decode();
  const strip = toGrey(image, SAMPLE_SIDE, image.naturalWidth);
  return Array.from({ length: image.naturalWidth / SAMPLE_SIDE }, (_, index) => {
    const data = new Uint8Array(SAMPLE_SIDE * SAMPLE_SIDE);
    for (let y = 0; y < SAMPLE_SIDE; y++) {
      const start = y * image.naturalWidth + index * SAMPLE_SIDE;
      data.set(strip.subarray(start, start + SAMPLE_SIDE), y * SAMPLE_SIDE);
    }
    return { height: SAMPLE_SIDE, width: SAMPLE_SIDE, data };
  });
}

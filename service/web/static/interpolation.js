// Interpolation in latent space: the latents of two drawings, mixed in steps, all decoded in one request.

import { latestOnly, post } from "./api.js";
import { $ } from "./dom.js";
import { fromNested, paint, toNested } from "./pixels.js";
import { t } from "./translations.js";

const STEPS = 33;
const THUMBNAILS = 9; // of the steps, side by side

export class Interpolation {
  constructor(showError) {
    Object.assign(this, { model: null, endpoints: [], pictures: [], isChosen: false });
    this.runLatest = latestOnly((error) => showError(error, () => this.#compute()));
    $("interpolation-position").addEventListener("input", () => this.#showPicture());
    this.thumbnails = Array.from({ length: THUMBNAILS }, (_, index) => {
      const canvas = document.createElement("canvas");
      canvas.addEventListener("click", () => {
        $("interpolation-position").value = index / (THUMBNAILS - 1);
        this.#showPicture();
      });
      return canvas;
    });
    $("interpolation-thumbnails").replaceChildren(...this.thumbnails);
    $("interpolation-position").step = 1 / (STEPS - 1);
  }

  /** Another model: drawings that were chosen stay; `start` and `end` are used if there are none of its size. */
  setModel(model, start, end) {
    this.model = model;
    if (!this.isChosen || this.endpoints[0].height !== start.height) this.endpoints = [start, end];
    return this.#compute();
  }

  setStart(picture) {
    this.isChosen = true;
    this.endpoints[0] = picture;
    $("interpolation-position").value = 0;
    return this.#compute();
  }

  setEnd(picture) {
    this.isChosen = true;
    this.endpoints[1] = picture;
    $("interpolation-position").value = 1;
    return this.#compute();
  }

  updateText() {
    const percent = Math.round(100 * $("interpolation-position").value);
    $("interpolation-position").setAttribute("aria-valuetext", t("interpolationValue", { n: percent }));
  }

  #compute() {
    return this.runLatest(async () => {
      const { model, endpoints } = this;
      const path = `v1/models/${model.name}`;
      const encoding = await post(`${path}/encode`, { inputs: endpoints.flatMap(toNested) });
      const { latents: [start, end] } = await encoding.response.json();
      const latents = Array.from({ length: STEPS }, (_, step) => {
        const fraction = step / (STEPS - 1);
        return start.map((value, index) => value + fraction * (end[index] - value));
      });
      const decoding = await post(`${path}/decode`, { latents, model: model.name, version: model.version });
      const { outputs } = await decoding.response.json();
      if (this.model !== model) return;
      this.pictures = outputs.map(fromNested);
      this.thumbnails.forEach((canvas, index) => paint(canvas, this.pictures[(index * (STEPS - 1)) / (THUMBNAILS - 1)]));
      this.#showPicture();
    });
  }

  #showPicture() {
    this.updateText();
    if (this.pictures.length === 0) return;
    const position = Number($("interpolation-position").value);
    paint($("interpolation-output"), this.pictures[Math.round(position * (STEPS - 1))]);
    const nearest = Math.round(position * (THUMBNAILS - 1));
    this.thumbnails.forEach((canvas, index) => canvas.classList.toggle("is-current", index === nearest));
  }
}

// A walk through latent space: the numbers of two drawings, mixed in steps, all decoded in one request.

import { nested, paint, unnested } from "./pixels.js";
import { latest, post } from "./service.js";
import { say } from "./words.js";

const $ = (id) => document.getElementById(id);
const STEPS = 33;
const FILM = 9; // of them are shown side by side

export class Walk {
  constructor(trouble) {
    Object.assign(this, { model: null, ends: [], steps: [] });
    this.ask = latest((error) => trouble(error, () => this.#go()));
    $("way").addEventListener("input", () => this.#show());
    this.film = Array.from({ length: FILM }, (_, n) => {
      const canvas = document.createElement("canvas");
      canvas.addEventListener("click", () => {
        $("way").value = n / (FILM - 1);
        this.#show();
      });
      return canvas;
    });
    $("film").replaceChildren(...this.film);
    $("way").step = 1 / (STEPS - 1);
  }

  use(model, from, to) {
    this.model = model;
    if (this.ends.length === 0 || this.ends[0].height !== from.height) this.ends = [from, to];
    return this.#go();
  }

  from(picture) {
    this.ends[0] = picture;
    $("way").value = 0;
    return this.#go();
  }

  to(picture) {
    this.ends[1] = picture;
    $("way").value = 1;
    return this.#go();
  }

  words() {
    $("way").setAttribute("aria-valuetext", say("walkValue", { n: Math.round(100 * $("way").value) }));
  }

  #go() {
    return this.ask(async () => {
      const { model, ends } = this;
      const path = `v1/models/${model.name}`;
      const encoded = await post(`${path}/encode`, { inputs: [...nested(ends[0]), ...nested(ends[1])] });
      const { latents: [one, other] } = await encoded.response.json();
      const latents = Array.from({ length: STEPS }, (_, step) => {
        const share = step / (STEPS - 1);
        return one.map((value, n) => value + share * (other[n] - value));
      });
      const decoded = await post(`${path}/decode`, { latents, model: model.name, version: model.version });
      const { outputs } = await decoded.response.json();
      if (this.model !== model) return;
      this.steps = outputs.map(unnested);
      this.film.forEach((canvas, n) => paint(canvas, this.steps[(n * (STEPS - 1)) / (FILM - 1)]));
      this.#show();
    });
  }

  #show() {
    this.words();
    if (this.steps.length === 0) return;
    const at = Number($("way").value);
    paint($("walked"), this.steps[Math.round(at * (STEPS - 1))]);
    this.film.forEach((canvas, n) => canvas.classList.toggle("here", n === Math.round(at * (FILM - 1))));
  }
}

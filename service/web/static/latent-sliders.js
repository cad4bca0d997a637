// The latent as sliders: one range input for each number, filled from zero.

import { t } from "./translations.js";

export class LatentSliders {
  /** `onInput` is called with all numbers after the user has moved one. */
  constructor(container, onInput) {
    Object.assign(this, { container, onInput, values: [], limit: 0, inputs: [] });
    container.addEventListener("input", (event) => {
      const index = this.inputs.indexOf(event.target);
      this.values[index] = Number(event.target.value);
      this.#paintSlider(index);
      this.onInput(this.values);
    });
  }

  /** Another model: `count` numbers, and a new scale. */
  reset(count) {
    this.limit = 0;
    this.values = Array(count).fill(0);
    this.inputs = this.values.map(() => {
      const input = document.createElement("input");
      Object.assign(input, { type: "range", className: "slider" });
      return input;
    });
    this.container.replaceChildren(...this.inputs);
    this.updateLabels();
    this.setValues(null);
  }

  updateLabels() {
    this.inputs.forEach((input, index) => input.setAttribute("aria-label", t("numberN", { n: index + 1 })));
  }

  /** Show numbers; null disables the sliders. The scale only grows, so that latents can be compared. */
  setValues(values) {
    this.values = values ? [...values] : this.values.map(() => 0);
    const largest = Math.max(...this.values.map(Math.abs));
    if (largest > this.limit) this.limit = Math.ceil(largest * 1.25);
    this.inputs.forEach((input, index) => {
      input.disabled = values === null;
      const limit = this.limit || 1;
      Object.assign(input, { min: -limit, max: limit, step: limit / 100, value: this.values[index] });
      this.#paintSlider(index);
    });
  }

  #paintSlider(index) {
    const input = this.inputs[index];
    const value = this.values[index];
    const percent = 50 + (50 * value) / (this.limit || 1);
    input.style.setProperty("--from", `${Math.min(50, percent)}%`);
    input.style.setProperty("--to", `${Math.max(50, percent)}%`);
    input.style.setProperty("--paint", value < 0 ? "var(--down)" : "var(--up)");
    input.setAttribute("aria-valuetext", value.toFixed(2));
  }
}

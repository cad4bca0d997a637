// The latent as bars: a range input and a field for each number. Bars are filled from zero.

import { createElement } from "./dom.js";
import { t } from "./translations.js";

const DIGITS = 2; // behind the point

export class LatentSliders {
  /** `onInput` is called with all numbers after the user has moved a bar or typed a number. */
  constructor(container, onInput) {
    Object.assign(this, { container, onInput, values: [], limit: 0, inputs: [], fields: [] });
    container.addEventListener("input", (event) => {
      const index = this.inputs.indexOf(event.target);
      if (index >= 0) this.#change(index, Number(event.target.value));
    });
    container.addEventListener("change", (event) => this.#readField(this.fields.indexOf(event.target)));
    container.addEventListener("keydown", (event) => this.#onKeyDown(event));
    container.addEventListener("focusin", (event) => this.fields.includes(event.target) && event.target.select());
  }

  /** Another model: `count` numbers, and a new scale. */
  reset(count) {
    this.limit = 0;
    this.values = Array(count).fill(0);
    this.inputs = this.values.map(() => createElement("input", { type: "range", className: "slider" }));
    // of one number there are two controls: the field is reached from the bar by typing, and needs no stop for Tab
    this.fields = this.values.map(() =>
      createElement("input", { type: "text", className: "slider-value", inputMode: "decimal", autocomplete: "off", tabIndex: -1 }));
    this.container.replaceChildren(...this.inputs.map((input, index) =>
      createElement("div", { className: "slider-cell" }, input, this.fields[index])));
    this.updateLabels();
    this.setValues(null);
  }

  updateLabels() {
    this.inputs.forEach((input, index) => {
      input.setAttribute("aria-label", t("numberN", { n: index + 1 }));
      this.fields[index].setAttribute("aria-label", t("valueN", { n: index + 1 }));
    });
  }

  /** Show numbers; null disables the bars. The scale only grows, so that latents can be compared. */
  setValues(values) {
    this.values = values ? [...values] : this.values.map(() => 0);
    this.#growScale();
    this.inputs.forEach((input, index) => {
      input.disabled = this.fields[index].disabled = values === null;
      this.#paintSlider(index);
    });
  }

  #growScale() {
    const largest = Math.max(...this.values.map(Math.abs));
    if (largest > this.limit) this.limit = Math.ceil(largest * 1.25);
    const limit = this.limit || 1;
    this.inputs.forEach((input, index) => Object.assign(input, { min: -limit, max: limit, step: limit / 100, value: this.values[index] }));
  }

  #change(index, value) {
    this.values[index] = value;
    if (Math.abs(value) > this.limit) {
      this.#growScale();
      this.inputs.forEach((_, other) => this.#paintSlider(other));
    }
    this.#paintSlider(index);
    this.onInput(this.values);
  }

  /** A number that was typed; anything else is replaced by the number that is there. */
  #readField(index) {
    if (index < 0) return;
    const text = this.fields[index].value.trim().replace(",", ".").replace("−", "-");
    const value = Number(text);
    if (text === "" || !Number.isFinite(value)) return this.#paintSlider(index);
    this.inputs[index].value = value;
    this.#change(index, value);
  }

  /** A digit on a bar begins a number in its field; Enter and Escape lead back to the bar. */
  #onKeyDown(event) {
    const index = this.inputs.indexOf(event.target);
    if (index >= 0 && /^[\d.,-]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.fields[index].focus();
      this.fields[index].value = event.key;
    }
    const field = this.fields.indexOf(event.target);
    if (field >= 0 && (event.key === "Enter" || event.key === "Escape")) {
      if (event.key === "Escape") this.#paintSlider(field);
      this.inputs[field].focus(); // which fires `change` if something was typed
    }
  }

  #paintSlider(index) {
    const input = this.inputs[index];
    const value = this.values[index];
    const percent = Math.min(100, Math.max(0, 50 + (50 * value) / (this.limit || 1)));
    input.style.setProperty("--from", `${Math.min(50, percent)}%`);
    input.style.setProperty("--to", `${Math.max(50, percent)}%`);
    input.style.setProperty("--paint", value < 0 ? "var(--down)" : "var(--up)");
    input.setAttribute("aria-valuetext", value.toFixed(DIGITS));
    this.fields[index].value = input.disabled ? "" : value.toFixed(Math.abs(value) < 10 ? DIGITS : 1).replace("-", "−");
  }
}

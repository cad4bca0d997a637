// The latent as bars that can be moved: one range input a number, painted from zero.

import { say } from "./words.js";

export class Bars {
  /** `moved` is called with all numbers after one was moved by hand. */
  constructor(box, moved) {
    Object.assign(this, { box, moved, values: [], limit: 0, inputs: [] });
    box.addEventListener("input", (event) => {
      const n = this.inputs.indexOf(event.target);
      this.values[n] = Number(event.target.value);
      this.#paint(n);
      this.moved(this.values);
    });
  }

  /** Another model: `count` numbers, and a scale that fits them anew. */
  reset(count) {
    this.limit = 0;
    this.values = Array(count).fill(0);
    this.inputs = this.values.map(() => {
      const input = document.createElement("input");
      Object.assign(input, { type: "range", className: "bar-input" });
      return input;
    });
    this.box.replaceChildren(...this.inputs);
    this.label();
    this.show(null);
  }

  label() {
    this.inputs.forEach((input, n) => input.setAttribute("aria-label", say("numberN", { n: n + 1 })));
  }

  /** Show numbers, or null: none, and nothing to move. The scale only grows, so that bars can be compared. */
  show(values) {
    this.values = values ? [...values] : this.values.map(() => 0);
    const largest = Math.max(...this.values.map(Math.abs));
    if (largest > this.limit) this.limit = Math.ceil(largest * 1.25);
    this.inputs.forEach((input, n) => {
      input.disabled = values === null;
      const limit = this.limit || 1;
      Object.assign(input, { min: -limit, max: limit, step: limit / 100, value: this.values[n] });
      this.#paint(n);
    });
  }

  #paint(n) {
    const input = this.inputs[n];
    const value = this.values[n];
    const at = 50 + (50 * value) / (this.limit || 1);
    input.style.setProperty("--from", `${Math.min(50, at)}%`);
    input.style.setProperty("--to", `${Math.max(50, at)}%`);
    input.style.setProperty("--paint", value < 0 ? "var(--down)" : "var(--up)");
    input.setAttribute("aria-valuetext", value.toFixed(2));
  }
}

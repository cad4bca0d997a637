// A drawing pad for mouse, finger, pen and keyboard. Its canvas has SCALE times the model's resolution; each of the
// model's pixels is the mean of SCALE x SCALE.

import { t } from "./translations.js";

const SCALE = 10;
const PEN_WIDTH = 2; // pixels of the model: about the lines of its training data
const MAX_HISTORY = 40;

export class DrawingPad {
  /** `onChange` is called after each change; `penStatus` is the element that tells screen readers the pen's state. */
  constructor(canvas, cursor, penStatus, onChange) {
    Object.assign(this, { canvas, cursor, penStatus, onChange, history: [], isPenDown: false, position: [0, 0], lastPoint: null });
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    canvas.addEventListener("pointerdown", (event) => this.#onPointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.#onPointerMove(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (this.lastPoint = null));
    canvas.addEventListener("keydown", (event) => this.#onKeyDown(event));
    canvas.addEventListener("blur", () => this.#setPen(false));
  }

  resize(height, width) {
    if (this.height === height && this.width === width) return;
    Object.assign(this, { height, width, history: [], position: [width / 2, height / 2] });
    this.canvas.width = width * SCALE;
    this.canvas.height = height * SCALE;
    this.#fillBlack();
    this.#moveCursor();
  }

  /** {height, width, data}: the model's input. */
  get picture() {
    const { height, width } = this;
    const pixels = this.context.getImageData(0, 0, width * SCALE, height * SCALE).data;
    const sums = new Float64Array(height * width);
    for (let y = 0; y < height * SCALE; y++) {
      for (let x = 0; x < width * SCALE; x++) {
        sums[Math.floor(y / SCALE) * width + Math.floor(x / SCALE)] += pixels[4 * (y * width * SCALE + x)];
      }
    }
    return { height, width, data: Uint8Array.from(sums, (sum) => Math.round(sum / SCALE ** 2)) };
  }

  setPicture({ height, width, data }) {
    this.#saveHistory();
    const image = this.context.createImageData(width * SCALE, height * SCALE);
    for (let i = 0; i < image.data.length / 4; i++) {
      const x = Math.floor((i % (width * SCALE)) / SCALE);
      const y = Math.floor(i / (width * SCALE) / SCALE);
      image.data.fill(data[y * width + x], 4 * i, 4 * i + 3);
      image.data[4 * i + 3] = 255;
    }
    this.context.putImageData(image, 0, 0);
    this.onChange();
  }

  clear() {
    this.#saveHistory();
    this.#fillBlack();
    this.onChange();
  }

  invert() {
    const { height, width, data } = this.picture;
    this.setPicture({ height, width, data: data.map((value) => 255 - value) });
  }

  get canUndo() {
    return this.history.length > 0;
  }

  undo() {
    const image = this.history.pop();
    if (image) this.context.putImageData(image, 0, 0);
    this.onChange();
  }

  clearHistory() {
    this.history.length = 0;
  }

  #saveHistory() {
    this.history.push(this.context.getImageData(0, 0, this.canvas.width, this.canvas.height));
    if (this.history.length > MAX_HISTORY) this.history.shift();
  }

  #fillBlack() {
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  #drawLine([x0, y0], [x1, y1]) {
    Object.assign(this.context, { strokeStyle: "#fff", lineWidth: PEN_WIDTH * SCALE, lineCap: "round", lineJoin: "round" });
    this.context.beginPath();
    this.context.moveTo(x0 * SCALE, y0 * SCALE);
    this.context.lineTo(x1 * SCALE, y1 * SCALE);
    this.context.stroke();
    this.onChange();
  }

  /** The pointer's position in pixels of the model. */
  #toPoint(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.x) / box.width) * this.width, ((event.clientY - box.y) / box.height) * this.height];
  }

  #onPointerDown(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#saveHistory();
    this.lastPoint = this.#toPoint(event);
    this.#drawLine(this.lastPoint, this.lastPoint);
  }

  #onPointerMove(event) {
    if (!this.lastPoint) return;
    const coalesced = event.getCoalescedEvents?.() ?? [];
    for (const pointerEvent of coalesced.length ? coalesced : [event]) {
      const point = this.#toPoint(pointerEvent);
      this.#drawLine(this.lastPoint, point);
      this.lastPoint = point;
    }
  }

  #onKeyDown(event) {
    const step = event.shiftKey ? 4 : 1;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (event.key === " ") {
      this.#setPen(!this.isPenDown);
      if (this.isPenDown) {
        this.#saveHistory();
        this.#drawLine(this.position, this.position);
      }
    } else if (move) {
      const [x, y] = this.position;
      this.position = [Math.min(this.width, Math.max(0, x + move[0])), Math.min(this.height, Math.max(0, y + move[1]))];
      this.#moveCursor();
      if (this.isPenDown) this.#drawLine([x, y], this.position);
    } else {
      return;
    }
    event.preventDefault();
  }

  #setPen(isDown) {
    if (this.isPenDown === isDown) return;
    this.isPenDown = isDown;
    this.cursor.classList.toggle("is-down", isDown);
    this.penStatus.textContent = t(isDown ? "penDown" : "penUp");
  }

  #moveCursor() {
    this.cursor.style.left = `${(100 * this.position[0]) / this.width}%`;
    this.cursor.style.top = `${(100 * this.position[1]) / this.height}%`;
  }
}

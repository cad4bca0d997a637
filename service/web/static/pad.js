// A drawing pad with mouse, finger, pen and keyboard. It draws at FINE times the model's size and hands out the
// model's pixels: each the mean of FINE x FINE.

import { say } from "./words.js";

const FINE = 10;
const PEN = 2; // pixels of the model, about as thick as the lines it learnt from
const STEPS_BACK = 40;

export class Pad {
  /** `changed` is called after each change; `status` is where the pen's state is told to screen readers. */
  constructor(canvas, cursor, status, changed) {
    Object.assign(this, { canvas, cursor, status, changed, past: [], pen: false, at: [0, 0], last: null });
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const over of ["pointerup", "pointercancel"]) canvas.addEventListener(over, () => (this.last = null));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#penIs(false));
  }

  resize(height, width) {
    if (this.height === height && this.width === width) return;
    Object.assign(this, { height, width, past: [], at: [width / 2, height / 2] });
    this.canvas.width = width * FINE;
    this.canvas.height = height * FINE;
    this.#wipe();
    this.#place();
  }

  /** {height, width, data}: what the model gets. */
  get picture() {
    const { height, width } = this;
    const fine = this.context.getImageData(0, 0, width * FINE, height * FINE).data;
    const sums = new Float64Array(height * width);
    for (let y = 0; y < height * FINE; y++) {
      for (let x = 0; x < width * FINE; x++) {
        sums[Math.floor(y / FINE) * width + Math.floor(x / FINE)] += fine[4 * (y * width * FINE + x)];
      }
    }
    return { height, width, data: Uint8Array.from(sums, (sum) => Math.round(sum / FINE ** 2)) };
  }

  get canUndo() {
    return this.past.length > 0;
  }

  load({ height, width, data }) {
    this.#remember();
    const image = this.context.createImageData(width * FINE, height * FINE);
    for (let i = 0; i < image.data.length / 4; i++) {
      const x = Math.floor((i % (width * FINE)) / FINE);
      const y = Math.floor(i / (width * FINE) / FINE);
      image.data.fill(data[y * width + x], 4 * i, 4 * i + 3);
      image.data[4 * i + 3] = 255;
    }
    this.context.putImageData(image, 0, 0);
    this.changed();
  }

  clear() {
    this.#remember();
    this.#wipe();
    this.changed();
  }

  invert() {
    const { height, width, data } = this.picture;
    this.load({ height, width, data: data.map((value) => 255 - value) });
  }

  undo() {
    const before = this.past.pop();
    if (before) this.context.putImageData(before, 0, 0);
    this.changed();
  }

  #wipe() {
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  #remember() {
    this.past.push(this.context.getImageData(0, 0, this.canvas.width, this.canvas.height));
    if (this.past.length > STEPS_BACK) this.past.shift();
  }

  #line([x0, y0], [x1, y1]) {
    Object.assign(this.context, { strokeStyle: "#fff", lineWidth: PEN * FINE, lineCap: "round", lineJoin: "round" });
    this.context.beginPath();
    this.context.moveTo(x0 * FINE, y0 * FINE);
    this.context.lineTo(x1 * FINE, y1 * FINE);
    this.context.stroke();
    this.changed();
  }

  #where(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.x) / box.width) * this.width, ((event.clientY - box.y) / box.height) * this.height];
  }

  #down(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#remember();
    this.last = this.#where(event);
    this.#line(this.last, this.last);
  }

  #move(event) {
    if (!this.last) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const here = this.#where(each);
      this.#line(this.last, here);
      this.last = here;
    }
  }

  #key(event) {
    const step = event.shiftKey ? 4 : 1;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (event.key === " ") {
      this.#penIs(!this.pen);
      if (this.pen) {
        this.#remember();
        this.#line(this.at, this.at);
      }
    } else if (move) {
      const [x, y] = this.at;
      this.at = [Math.min(this.width, Math.max(0, x + move[0])), Math.min(this.height, Math.max(0, y + move[1]))];
      this.#place();
      if (this.pen) this.#line([x, y], this.at);
    } else {
      return;
    }
    event.preventDefault();
  }

  #penIs(down) {
    if (this.pen === down) return;
    this.pen = down;
    this.cursor.classList.toggle("down", down);
    this.status.textContent = say(down ? "penDown" : "penUp");
  }

  #place() {
    this.cursor.style.left = `${(100 * this.at[0]) / this.width}%`;
    this.cursor.style.top = `${(100 * this.at[1]) / this.height}%`;
  }
}

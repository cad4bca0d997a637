// The comparison of a picture before and after: one part of both, at any scale, on the two sides of a divider.
//
// pointer, wheel, keys, buttons -> {scale, x, y}, the same for all layers; the divider has its place in the window

import { $ } from "./dom.js";
import { t } from "./translations.js";

const SMALL_SIDE = 128; // pixels; pictures up to this size are enlarged, and shown pixel by pixel
const SMALL_PICTURE = 420; // CSS pixels of the longer side of a small picture
const MAX_ENLARGEMENT = 1.5; // of others when they fit into the window
const MAX_SCALE = 16; // device pixels for one of the picture
const PIXELATED_SCALE = 3; // from that scale on, pixels are squares
const WINDOW_HEIGHT = 0.72; // share of the browser's window
const STEP = 1.25; // of the buttons and keys
const PAN = 60; // CSS pixels of an arrow key
const HANDLE = 24; // CSS pixels from the divider in which a press takes it
const PAUSE = 300; // milliseconds: a turn of the wheel so soon after the page was scrolled scrolls it further

export class Comparison {
  constructor() {
    Object.assign(this, { width: 0, height: 0, scale: 1, x: 0, y: 0, isFitted: true, strength: 1, urls: new Map() });
    this.pointers = new Map(); // id -> {x, y} in the frame
    this.gesture = null; // "divider", "pan" or "pinch"
    this.frame = $("frame");
    this.lastScroll = 0;
    $("compare").addEventListener("input", () => this.#moveDivider(Number($("compare").value)));
    $("zoom-in").addEventListener("click", () => this.#zoomAtCentre(STEP));
    $("zoom-out").addEventListener("click", () => this.#zoomAtCentre(1 / STEP));
    $("zoom-fit").addEventListener("click", () => this.fit());
    $("zoom-full").addEventListener("click", () => this.#showFullSize());
    this.frame.addEventListener("keydown", (event) => this.#onKey(event));
    this.frame.addEventListener("pointerdown", (event) => this.#onPointerDown(event));
    this.frame.addEventListener("pointermove", (event) => this.#onPointerMove(event));
    for (const kind of ["pointerup", "pointercancel"]) this.frame.addEventListener(kind, (event) => this.#onPointerUp(event));
    this.frame.addEventListener("dblclick", (event) => this.#onDoubleClick(event));
    this.frame.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    addEventListener("scroll", () => (this.lastScroll = performance.now()), { passive: true });
    new ResizeObserver(() => this.#resize()).observe(this.frame.parentElement);
    addEventListener("resize", () => this.#resize());
  }

  /**
   * Show pictures (Blobs): `before`, and if they are known `after` and `second`, of strength 2. Scale and place stay if
   * the picture has the size of the one before and `isSame`. Resolves to whether the browser can show them.
   */
  async show({ before, after = null, second = null }, { isSame = false } = {}) {
    const pictures = { before, after, second };
    this.pictures = pictures;
    const urls = new Map([before, after, second].filter(Boolean).map((blob) => [blob, this.urls.get(blob) ?? URL.createObjectURL(blob)]));
    const old = this.urls;
    this.urls = urls;
    this.frame.classList.toggle("is-single", !after);
    this.#updateLayers();
    const layers = after ? ["before", "after"] : ["before"];
    const isShown = await Promise.all(layers.map((id) => $(id).decode())).then(() => true, () => false);
    for (const [blob, url] of old) if (!this.urls.has(blob)) URL.revokeObjectURL(url);
    if (this.pictures !== pictures) return true; // moved on meanwhile
    this.frame.hidden = $("viewer-bar").hidden = !isShown;
    if (!isShown) return false;
    const { naturalWidth: width, naturalHeight: height } = $(after ? "after" : "before");
    const isKept = isSame && width === this.width && height === this.height;
    Object.assign(this, { width, height });
    if (!isKept) this.isFitted = true;
    this.#resize();
    return true;
  }

  /** Between 0 and 1 a blend of input and output is shown, between 1 and 2 one of the output and of strength 2. */
  setStrength(strength) {
    this.strength = strength;
    this.#updateLayers();
  }

  centreDivider() {
    $("compare").value = 50;
    this.#moveDivider(50);
  }

  updateText() {
    this.#moveDivider(Number($("compare").value));
    this.#place();
  }

  /** All of the picture. */
  fit() {
    this.isFitted = true;
    this.#resize();
  }

  // --- layers ------------------------------------------------------------------------------------------------

  #updateLayers() {
    if (!this.pictures) return;
    const { before, after, second } = this.pictures;
    const isStrong = this.strength > 1 && second !== null;
    const [low, high] = isStrong ? [after, second] : [before, after ?? before];
    for (const [id, blob] of [["before", before], ["base", low], ["after", high]]) {
      const url = this.urls.get(blob);
      if ($(id).src !== url) $(id).src = url;
    }
    $("after").style.opacity = isStrong ? this.strength - 1 : Math.min(1, this.strength);
  }

  #moveDivider(percent) {
    this.frame.style.setProperty("--at", `${percent}%`);
    $("compare").value = percent;
    $("compare").setAttribute("aria-valuetext", t("compareValue", { n: Math.round(percent) }));
  }

  // --- scale and place ---------------------------------------------------------------------------------------

  get #isSmall() {
    return this.width <= SMALL_SIDE && this.height <= SMALL_SIDE;
  }

  get #fullScale() {
    return 1 / devicePixelRatio;
  }

  get #fittingScale() {
    const limit = this.#isSmall ? SMALL_PICTURE / Math.max(this.width, this.height) : MAX_ENLARGEMENT;
    return Math.min(this.frame.clientWidth / this.width, this.frame.clientHeight / this.height, limit);
  }

  /** Give the window its height, as far as the picture needs it; then the picture its place. */
  #resize() {
    const width = this.frame.parentElement.clientWidth;
    if (!this.width || !width) return;
    const limit = this.#isSmall ? SMALL_PICTURE / Math.max(this.width, this.height) : MAX_ENLARGEMENT;
    const height = Math.min(WINDOW_HEIGHT * innerHeight, this.height * Math.min(width / this.width, limit));
    this.frame.style.height = `${Math.max(160, Math.round(height))}px`;
    if (this.isFitted) this.scale = this.#fittingScale;
    this.#place();
  }

  #showFullSize() {
    this.#zoomTo(this.#fullScale, this.frame.clientWidth / 2, this.frame.clientHeight / 2);
  }

  #zoomAtCentre(factor) {
    this.#zoomTo(this.scale * factor, this.frame.clientWidth / 2, this.frame.clientHeight / 2);
  }

  /** The point of the picture at (x, y) of the frame stays there. */
  #zoomTo(scale, x, y) {
    const smallest = Math.min(this.#fittingScale, this.#fullScale);
    const bounded = Math.min(MAX_SCALE * this.#fullScale, Math.max(smallest, scale));
    const factor = bounded / this.scale;
    this.x = x - (x - this.x) * factor;
    this.y = y - (y - this.y) * factor;
    this.scale = bounded;
    this.isFitted = Math.abs(bounded / this.#fittingScale - 1) < 1e-3;
    this.#place();
  }

  /** Keep the picture in the window, and all layers at one place. */
  #place() {
    if (!this.width) return;
    const bound = (offset, length, room) => (length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, offset)));
    this.x = bound(this.x, this.width * this.scale, this.frame.clientWidth);
    this.y = bound(this.y, this.height * this.scale, this.frame.clientHeight);
    const { style } = this.frame;
    style.setProperty("--width", `${this.width}px`);
    style.setProperty("--height", `${this.height}px`);
    style.setProperty("--place", `translate(${this.x}px, ${this.y}px) scale(${this.scale})`);
    const devicePixels = this.scale / this.#fullScale;
    this.frame.classList.toggle("is-pixelated", this.#isSmall || devicePixels >= PIXELATED_SCALE);
    this.frame.classList.toggle("is-pannable", this.#overflows);
    $("zoom-value").textContent = t("percent", { n: Math.round(100 * devicePixels) });
    $("zoom-fit").setAttribute("aria-pressed", String(this.isFitted));
    $("zoom-full").setAttribute("aria-pressed", String(Math.abs(devicePixels - 1) < 1e-3));
  }

  get #overflows() {
    return this.width * this.scale > this.frame.clientWidth + 1 || this.height * this.scale > this.frame.clientHeight + 1;
  }

  // --- keys, pointers, wheel ---------------------------------------------------------------------------------

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      "+": () => this.#zoomAtCentre(STEP), "=": () => this.#zoomAtCentre(STEP), "-": () => this.#zoomAtCentre(1 / STEP),
      "0": () => this.fit(), "1": () => this.#showFullSize(),
    };
    const pans = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (actions[event.key]) {
      actions[event.key]();
    } else if (pans[event.key] && event.target !== $("compare") && this.#overflows) {
      this.x += PAN * pans[event.key][0];
      this.y += PAN * pans[event.key][1];
      this.#place();
    } else {
      return;
    }
    event.preventDefault();
  }

  #locate(event) {
    const box = this.frame.getBoundingClientRect();
    return { x: event.clientX - box.left - this.frame.clientLeft, y: event.clientY - box.top - this.frame.clientTop };
  }

  #onPointerDown(event) {
    if (event.button !== 0) return;
    const point = this.#locate(event);
    this.pointers.set(event.pointerId, point);
    this.frame.setPointerCapture(event.pointerId);
    const isAtDivider = Math.abs(point.x - (Number($("compare").value) / 100) * this.frame.clientWidth) <= HANDLE;
    if (this.pointers.size === 2) this.gesture = "pinch";
    else if (!this.#overflows || (isAtDivider && !this.frame.classList.contains("is-single"))) this.gesture = "divider";
    else this.gesture = "pan";
    if (this.gesture === "divider") this.#dragDivider(point);
    this.frame.classList.toggle("is-panning", this.gesture === "pan");
  }

  #onPointerMove(event) {
    const old = this.pointers.get(event.pointerId);
    if (!old) return;
    const point = this.#locate(event);
    if (this.gesture === "divider") this.#dragDivider(point);
    if (this.gesture === "pan") {
      this.x += point.x - old.x;
      this.y += point.y - old.y;
      this.#place();
    }
    const other = this.gesture === "pinch" && [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const distance = ({ x, y }) => Math.max(1, Math.hypot(x - other.x, y - other.y));
      const middle = ({ x, y }) => [(x + other.x) / 2, (y + other.y) / 2];
      const [x, y] = middle(point);
      const [oldX, oldY] = middle(old);
      this.x += x - oldX;
      this.y += y - oldY;
      this.#zoomTo((this.scale * distance(point)) / distance(old), x, y);
    }
    this.pointers.set(event.pointerId, point);
  }

  #onPointerUp(event) {
    this.pointers.delete(event.pointerId);
    this.gesture = this.pointers.size === 1 && this.#overflows ? "pan" : null;
    this.frame.classList.remove("is-panning");
  }

  #dragDivider({ x }) {
    this.#moveDivider(Math.min(100, Math.max(0, (100 * x) / this.frame.clientWidth)));
  }

  #onDoubleClick(event) {
    const { x, y } = this.#locate(event);
    if (this.isFitted) this.#zoomTo(Math.max(this.#fullScale, 2 * this.scale), x, y);
    else this.fit();
  }

  #onWheel(event) {
    const isPageScrolled = !event.ctrlKey && performance.now() - this.lastScroll < PAUSE;
    if (isPageScrolled || (event.deltaY > 0 && this.scale <= this.#fittingScale * 1.001 && !event.ctrlKey)) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1);
    const { x, y } = this.#locate(event);
    this.#zoomTo(this.scale * Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.002)), x, y);
  }
}

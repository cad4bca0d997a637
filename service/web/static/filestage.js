// A picture file: sent, and shown before and after under one slider.

import { say } from "./words.js";
import { curlFile, post, Refused } from "./service.js";

const $ = (id) => document.getElementById(id);
const EXAMPLES = { pages: "page/example-page.png" };
const EXAMPLE = "page/example-photo.jpg";
const SUFFIX = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/tiff": "tif" };
const SMALL = 128; // pixels along a side; such pictures are enlarged

export class FileStage {
  /** `trouble(error, again)` shows a refusal; `command(line)` shows the curl line. */
  constructor(trouble, command) {
    Object.assign(this, { trouble, command, file: null, model: null, urls: [], abort: null, facts: null });
    for (const id of ["choose", "photo", "again"]) {
      $(id).addEventListener("change", (event) => {
        if (event.target.files[0]) this.take(event.target.files[0]);
        event.target.value = ""; // the same file may be chosen again
      });
    }
    $("example").addEventListener("click", () => this.#example());
    $("cancel").addEventListener("click", () => this.abort?.abort());
    $("compare").addEventListener("input", () => this.#slide());
    $("strength").addEventListener("input", () => this.#strengthWords());
    $("strength").addEventListener("change", () => this.send());
    $("actual").addEventListener("change", () => this.#actual());
  }

  /** Another model: the picture stays, and is sent to it. */
  use(model) {
    this.model = model;
    this.operation = model.operations.includes("denoise") ? "denoise" : "reconstruct";
    $("strength-row").hidden = this.operation !== "denoise";
    $("strength").value = 1;
    this.words();
    if (this.file) this.send();
    else this.#empty();
  }

  leave() {
    this.abort?.abort();
  }

  take(file) {
    if (file.type && !file.type.startsWith("image/")) return this.trouble(new Refused(say("notImage")));
    const tiff = !file.type && /\.tiff?$/i.test(file.name); // systems that know no name for it
    this.file = tiff ? new File([file], file.name, { type: "image/tiff" }) : file;
    this.send();
  }

  words() {
    this.#slide();
    this.#strengthWords();
    this.#showFacts();
    if (this.model) this.command(curlFile(this.#path(), this.file?.name ?? "scan.png", this.#output(this.file?.type)));
  }

  async send() {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    const { file, model } = this;
    this.trouble(null);
    this.facts = null;
    this.words();
    const stop = this.#busy();
    try {
      const shown = file.type !== "image/tiff"; // browsers show no TIFF
      const { response, seconds } = await post(this.#path(), file, { signal: abort.signal });
      const answer = await response.blob();
      const after = shown ? answer : await this.#asPng(file, this.#path(), abort.signal);
      const before = shown ? file : await this.#asPng(file, this.#path(0), abort.signal);
      if (abort !== this.abort) return;
      this.#free();
      this.facts = { seconds, model, error: response.headers.get("Reconstruction-Error") };
      await this.#show(before, after);
      $("download").href = this.#url(answer);
      $("download").download = this.#output(answer.type);
      this.words();
    } catch (error) {
      if (abort !== this.abort) return;
      if (!this.facts) this.#empty();
      if (error.name !== "AbortError") this.trouble(error, error.status === 0 || error.status >= 429 ? () => this.take(file) : null);
      else this.file = null;
    } finally {
      stop();
    }
  }

  /** What a browser cannot show, as PNG by way of the service; null if even that cannot be had (several pages). */
  async #asPng(file, path, signal) {
    try {
      const { response } = await post(path, file, { accept: "image/png", signal });
      return response.blob();
    } catch (error) {
      if (error.status === 406) return null;
      throw error;
    }
  }

  async #show(before, after) {
    $("drop").hidden = true;
    $("result").hidden = false;
    $("frame").hidden = after === null || before === null;
    $("no-preview").hidden = !$("frame").hidden;
    if ($("frame").hidden) return;
    $("after").src = this.#url(after);
    $("before").src = this.#url(await this.#likeAfter(before));
    await Promise.all([$("after").decode(), $("before").decode()]);
    const { naturalWidth: width, naturalHeight: height } = $("after");
    Object.assign(this.facts, { width, height });
    this.#frame($("after"));
    $("compare").value = 50;
    this.#slide();
  }

  /** For a model of one size: the picture as it was fitted, so that both lie on each other. */
  async #likeAfter(before) {
    const [height, width] = this.model.ports.image.shape.slice(1, 3);
    if (typeof height !== "number") return before;
    const bitmap = await createImageBitmap(before);
    const scale = Math.min(width / bitmap.width, height / bitmap.height);
    const canvas = new OffscreenCanvas(width, height);
    const [w, h] = [bitmap.width * scale, bitmap.height * scale];
    canvas.getContext("2d").drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
    return canvas.convertToBlob();
  }

  #path(strength = Number($("strength").value)) {
    const [height] = this.model.ports.image.shape.slice(1, 3);
    const query = new URLSearchParams();
    if (typeof height === "number") query.set("fit", "contain");
    if (this.operation === "denoise" && strength < 1) query.set("strength", strength);
    const asked = query.size ? `?${query}` : "";
    return `v1/models/${this.model.name}/${this.operation}${asked}`;
  }

  #output(type) {
    const name = this.file?.name ?? "scan.png";
    const stem = name.replace(/\.[^.]*$/, "") || "image";
    const suffix = SUFFIX[type] ?? "png";
    return `${stem}-${this.model.name}.${suffix}`;
  }

  async #example() {
    const address = EXAMPLES[this.model.name] ?? EXAMPLE;
    try {
      const blob = await (await fetch(new URL(address, document.baseURI))).blob();
      this.take(new File([blob], address.split("/").pop(), { type: blob.type }));
    } catch {
      this.trouble(new Refused(say("offline")), () => this.#example());
    }
  }

  #empty() {
    $("drop").hidden = false;
    $("result").hidden = true;
  }

  /** Busy until the returned function is called; the picture is shown meanwhile. */
  #busy() {
    const start = performance.now();
    const tick = () => ($("busy-words").textContent = say("working", { s: ((performance.now() - start) / 1000).toFixed(1) }));
    if ($("result").hidden) {
      for (const id of ["before", "after"]) $(id).src = this.#url(this.file);
      $("before").decode().then(() => this.#frame($("before")), () => {}); // not shown if the browser cannot
      $("frame").hidden = false;
      $("no-preview").hidden = true;
      $("result").hidden = false;
      $("drop").hidden = true;
    }
    tick();
    $("result").classList.add("working");
    $("busy").hidden = false;
    $("download").setAttribute("aria-disabled", "true");
    $("download").removeAttribute("href");
    const timer = setInterval(tick, 100);
    const mine = this.abort;
    return () => {
      clearInterval(timer);
      if (mine !== this.abort) return; // another has begun
      $("result").classList.remove("working");
      $("busy").hidden = true;
      if ($("download").href) $("download").removeAttribute("aria-disabled");
    };
  }

  /** The frame takes the picture's shape: enlarged if it is small, never larger than the window. */
  #frame({ naturalWidth: width, naturalHeight: height }) {
    $("frame").style.setProperty("--natural", `${width}px`);
    $("frame").style.setProperty("--ratio", width / height);
    $("frame").classList.toggle("small-picture", width <= SMALL && height <= SMALL);
  }

  #slide() {
    const at = $("compare").value;
    $("frame").style.setProperty("--at", `${at}%`);
    $("compare").setAttribute("aria-valuetext", say("compareValue", { n: Math.round(at) }));
  }

  #strengthWords() {
    $("strength-value").textContent = `${Math.round(100 * $("strength").value)}%`;
  }

  #actual() {
    document.querySelector(".view").classList.toggle("actual", $("actual").checked);
  }

  #showFacts() {
    const list = [];
    if (this.file) list.push([say("file"), this.file.name]);
    if (this.facts?.width) list.push([say("size"), say("pixels", { w: this.facts.width, h: this.facts.height })]);
    list.push([say("time"), this.facts ? say("answeredIn", { s: this.facts.seconds.toPrecision(2) }) : "–"]);
    if (this.facts?.error) list.push([say("error"), this.facts.error]);
    $("file-facts").replaceChildren(...list.flatMap(([term, value]) => {
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      dt.textContent = term;
      dd.textContent = value;
      return [dt, dd];
    }));
  }

  #url(blob) {
    this.urls.push(URL.createObjectURL(blob));
    return this.urls.at(-1);
  }

  #free() {
    this.urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
  }
}

// The nearest pictures of a model's index, under what is drawn: buttons with the picture, its place and its distance.

import { post } from "./api.js";
import { createElement } from "./dom.js";
import { toGrey } from "./pixels.js";
import { t } from "./translations.js";

const COUNT = 8;

export class NearestPictures {
  /** `onChoose` is called with the grey picture {height, width, data} that was clicked. */
  constructor(section, onChoose) {
    Object.assign(this, { section, onChoose, list: section.querySelector(".row"), title: section.querySelector("p"), found: [], size: 0 });
  }

  setModel(model) {
    this.model = model.neighbours ? model : null;
    this.show([]);
  }

  /** Ask for the neighbours of `inputs` [1,H,W,1]; null if the model has no index. */
  async find(inputs) {
    if (!this.model) return null;
    const { response } = await post(`v1/models/${this.model.name}/neighbours?count=${COUNT}`, { inputs });
    const { neighbours, size } = await response.json();
    this.size = size;
    return neighbours[0];
  }

  /** Show what `find` answered. */
  show(neighbours) {
    this.found = neighbours ?? [];
    this.updateText();
    this.list.replaceChildren(...this.found.filter(({ image }) => image).map((neighbour, index) => {
      const distance = neighbour.distance.toPrecision(3);
      const image = createElement("img", { src: `data:image/png;base64,${neighbour.image}`, alt: "" });
      const button = createElement("button", { type: "button", className: "thumbnail" }, image);
      button.setAttribute("aria-label", t("nearestN", { n: index + 1, distance }));
      button.addEventListener("click", async () => {
        await image.decode();
        const { naturalHeight: height, naturalWidth: width } = image;
        this.onChoose({ height, width, data: toGrey(image, height, width) });
      });
      return createElement("div", { className: "nearest" }, button, createElement("span", { className: "quiet small" }, distance));
    }));
    this.section.hidden = !this.list.children.length;
  }

  updateText() {
    this.title.textContent = t("nearest", { n: this.size });
  }
}

// A chart of one row of numbers and its reconstruction: SVG, two lines over the columns.

const WIDTH = 720, HEIGHT = 220, MARGIN = 8; // units of the SVG
const MAX_DOTS = 40; // columns of which each has a dot

/** Draw `input` and `output` (lists of numbers; null: not there) into an SVG element; `names` are tooltips of the dots. */
export function drawRow(svg, input, output, names) {
  const shown = [input, output].filter(Boolean);
  const count = shown[0]?.length ?? 0;
  const numbers = shown.flat();
  const low = Math.min(...numbers), high = Math.max(...numbers);
  const x = (index) => (count === 1 ? WIDTH / 2 : MARGIN + (index * (WIDTH - 2 * MARGIN)) / (count - 1));
  const y = (value) => HEIGHT - MARGIN - ((value - low) * (HEIGHT - 2 * MARGIN)) / (high - low || 1);
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const lines = [[input, "row-input"], [output, "row-output"]].filter(([values]) => values).flatMap(([values, name]) => {
    const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const line = create("polyline", { points, class: name });
    if (count > MAX_DOTS) return [line];
    return [line, ...values.map((value, index) => {
      const dot = create("circle", { cx: x(index), cy: y(value), r: 4, class: name });
      dot.append(create("title", {}, `${names[index]}: ${value.toPrecision(4)}`));
      return dot;
    })];
  });
  const zero = low < 0 && high > 0 ? [create("line", { x1: 0, x2: WIDTH, y1: y(0), y2: y(0), class: "row-zero" })] : [];
  svg.replaceChildren(...zero, ...lines);
}

function create(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

// Helpers for elements of the page.

export const $ = (id) => document.getElementById(id);

/** A new element: createElement("td", {className: "this-model"}, "text", child, ...). */
export function createElement(tag, { attributes = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

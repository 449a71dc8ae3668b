// Elements of a page: find, make and fill them, announce messages, save files, follow the system's theme.

export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const darkTheme = matchMedia("(prefers-color-scheme: dark)");

export const byId = (id) => document.getElementById(id);

/** Make an element. Strings among the children become text, never markup. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Set a text, if it differs: screen readers would read an equal one again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show a message at the top of the page; screen readers read it aloud. */
export function announce(text, isError = false) {
  const message = byId("message");
  message.classList.toggle("error", isError);
  setText(message, text);
}

export const announceError = (error) => announce(error.message, true);

/** Save a blob as a file of the reader. */
export function saveFile(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A colour of the style sheet in the present theme. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export const onThemeChange = (redraw) => darkTheme.addEventListener("change", redraw);

/** A function that draws with the next frame of the screen: many calls before it draw once. */
export function drawNextFrame(draw) {
  let request = null;
  return () => {
    request ??= requestAnimationFrame(() => {
      request = null;
      draw();
    });
  };
}

/** Call a function with every drag or drop of files. The browser does not open files that miss the drop area. */
export function onFileDrag(kind, action = () => {}) {
  addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    action(event.dataTransfer);
  });
}
onFileDrag("dragover");
onFileDrag("drop");

/** What the views share: the current place, repeated reads, filters and forms. */

import { addressOf, keepSetting } from './address.js';
import { attempt, mayFind, mayRead, messageOf, server } from './server.js';
import { $, SECOND, paced, setAttribute, setText } from './tools.js';

export const app = {
  place: { view: 'spaces', space: null },
  /** Goes to a place; set by dashboard.js. */
  go: () => {},
  /** The same, without a new history entry. */
  replace: () => {},
  /** Whether this deployment runs containers. */
  hasContainers: false,
  /** Called when the data's freshness may have changed. */
  changed: () => {},
  /** Called when the screen's slice has changed; set by the space's view. */
  sliced: () => {},
};

/** Returns a function that reads `load` while `view` is open: one read at a time, `gap()` ms apart. */
export function reading(view, source, load, gap, isDue = () => true) {
  const refresh = paced((force) => app.place.view === view && mayRead(force) && isDue(force) && attempt(source, load, refresh), gap);
  return refresh;
}

/** Calls `load` repeatedly while `view` is open. `contactAt` is when it last succeeded. */
export function polling(view, source, load, every) {
  const poll = { contactAt: null, every };
  poll.refresh = paced(async (force) => {
    if (app.place.view !== view || !mayRead(force)) return;
    const outcome = await attempt(source, load);
    if (outcome === 'aborted') return;
    if (outcome === 'ok') poll.contactAt = Date.now();
    app.changed();
  }, () => SECOND / 2);
  poll.forget = () => (poll.contactAt = null);
  setInterval(() => poll.refresh(), every);
  return poll;
}

/** Binds inputs ({id: setting}) to settings of the address. Returns a function that fills the inputs from it. */
export function bindFilters(filters, changed) {
  for (const [id, name] of Object.entries(filters)) {
    $(id).oninput = ({ target }) => {
      keepSetting(app.place, name, target.value.trim());
      changed();
    };
  }
  return () => Object.entries(filters).forEach(([id, name]) => ($(id).value = app.place[name] ?? ''));
}

/** Disables a button while its action runs. Returns the result. */
export async function whileDisabled(button, action) {
  button.disabled = true;
  const result = await action();
  button.disabled = false;
  return result;
}

/** Submits a form, once at a time, and resets it if `send` returns true. */
export function onSubmit(form, send) {
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (await whileDisabled(form.querySelector('[type="submit"]'), send)) form.reset();
  };
}

/** Shows an error message in its place on the screen, or hides it if it is empty. */
export function showProblem(node, message) {
  node.hidden = !message;
  setText(node, message);
}

/** Runs a task, shows in `problem` what went wrong, and returns whether it succeeded. */
export async function attemptShown(task, problem) {
  const { signal } = server.scope;
  try {
    await task();
    showProblem(problem, '');
    return true;
  } catch (error) {
    if (!signal.aborted) showProblem(problem, messageOf(error));
    return false;
  }
}

/** Links a name to where its person is, if the token may see that. `key` as in u:ada. */
export function linkPerson(node, key) {
  if (key && mayFind(key)) setAttribute(node, 'href', addressOf({ view: 'people', person: key }));
  else node.removeAttribute('href');
}

/** A button that copies a snippet, and says so. */
export async function copy(button, text) {
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  setText(button, copied ? 'Copied' : 'Select it, and press Ctrl+C');
  setTimeout(() => setText(button, 'Copy'), 3 * SECOND);
}

/** The line of HTML that counts a page's visitors. */
export const snippetFor = (space) => `<script type="module" src="${location.origin}/headcount.js" data-space="${space}"></script>`;

/** A space's live extras: its alerts as they come, the message to everyone, and what admins may do about both. */

import { app } from '../app.js';
import { ServerError, ask, get, mayRead, server, serverNow, spacePath } from '../server.js';
import { $, MINUTE, SECOND, clockTime, counted, decimal, element, number, paced, reconcile, setText } from '../tools.js';

const TOAST_STAYS = 10 * SECOND;
const KEPT_ALERTS = 50;
const SHOWN_ACTS = 20;
const SETTLED_AFTER = 3 * SECOND;
const ACTS = { putAlert: 'set the alert rule', deleteAlert: 'deleted the alert rule', sendMessage: 'sent the message', endMessage: 'ended the message', removePerson: 'removed a person', liftRemoval: 'lifted a removal', startStream: 'started the stream', stopStream: 'stopped the stream' };
const NO_ANSWER = 'The server did not answer. Is it still there? Try again.';

const seen = new Set(); // ids of alerts: one may be said twice
const heardIn = new Map(); // space -> its alerts, the newest first, until the page is loaded again
let notice = null;
let ended = null; // the id of the message that was ended here: versions from before still carry it
let rules = [];
let removals = [];
let acts = [];
let leaving = null; // who is asked about in the dialog

const path = (rest) => spacePath(app.place.space, rest);

// --- Toasts and alerts ---------------------------------------------------------------------------

/** Says something for ten seconds, or as long as it is pointed at or focused. */
function toast(words) {
  const close = element('button', { type: 'button', class: 'quiet', 'aria-label': `Dismiss: ${words}` }, 'Dismiss');
  const text = element('p');
  const node = element('div', { class: 'toast', role: 'status', 'data-testid': 'toast' }, text, close);
  close.onclick = () => node.remove();
  const fade = () => (node.matches(':hover, :focus-within') ? setTimeout(fade, SECOND) : node.remove());
  setTimeout(fade, TOAST_STAYS);
  $('toasts').append(node);
  text.append(words); // after the region is there, so that it is read aloud
}

function wordsOf({ name, type, people, threshold, before, minutes }) {
  const now = counted(people, 'person', 'people');
  return type === 'spike' ? `${name}: ${now}, ${number(before)} ${counted(minutes, 'minute', 'minutes')} ago` : `${name}: ${now}, the milestone is ${number(threshold)}`;
}

/** An alert came over the socket. */
export function alerted({ space, at, alert }) {
  if (seen.has(alert.id)) return;
  seen.add(alert.id);
  heardIn.set(space, [{ ...alert, at }, ...(heardIn.get(space) ?? [])].slice(0, KEPT_ALERTS));
  toast(wordsOf(alert));
  renderAlerts();
  refresh({ force: true });
}

function renderAlerts() {
  const heard = heardIn.get(app.place.space) ?? [];
  $('alerts-heard').hidden = !heard.length;
  reconcile($('alerts-list'), heard, ({ id }) => id, ({ at }) => element('li', {}, element('time', { datetime: at }, clockTime(at, true)), element('span')), (row, one) => setText(row.lastChild, wordsOf(one)));
}

// --- The message to everyone ---------------------------------------------------------------------

/** What is shown to everyone now, if anything. */
export function noticed(message) {
  notice = message && message.id !== ended ? message : null;
  renderNotice();
}

function renderNotice() {
  if (notice && Date.parse(notice.until) <= serverNow()) notice = null;
  const banner = $('space-notice');
  banner.hidden = !notice;
  $('message-now').hidden = !notice;
  $('message-none').hidden = Boolean(notice);
  if (!notice) {
    setText(banner.lastElementChild, '');
    return;
  }
  banner.dataset.level = notice.level;
  setText(banner.firstElementChild, notice.level === 'warning' ? 'Warning to everyone:' : 'Message to everyone:');
  setText(banner.lastElementChild, notice.text);
  setText($('message-text'), `“${notice.text}” is shown until ${clockTime(notice.until)}.`);
}

// --- Reading -------------------------------------------------------------------------------------

const isOpen = () => app.place.view === 'space' && $('extras').open;

export const refresh = paced(async (force) => {
  if (!isOpen() || !mayRead(force)) return;
  await trying(load, $('extras-problem'));
}, () => SECOND);

async function load() {
  const { space } = app.place;
  const [found, gone, done] = await Promise.all([get(path('/alerts')), get(path('/removals')), get(path('/audit'))]);
  if (space !== app.place.space) return;
  rules = found.alerts;
  removals = gone.removals;
  acts = done.acts.slice(0, SHOWN_ACTS);
  $('extras').setAttribute('aria-busy', 'false');
  render();
}

/** Runs a task and says beside it what was wrong; whether it went well. */
async function trying(task, problem) {
  const { signal } = server.scope;
  const say = (words) => {
    problem.hidden = !words;
    setText(problem, words);
  };
  try {
    await task();
    say('');
    return true;
  } catch (error) {
    if (!signal.aborted) say(error instanceof ServerError ? error.message : NO_ANSWER);
    return false;
  }
}

/** An act of an admin, once at a time for its button; then all is read again. */
async function act(button, task, problem = $('extras-problem')) {
  button.disabled = true;
  const well = await trying(task, problem);
  button.disabled = false;
  if (well) {
    refresh({ now: true, force: true });
    setTimeout(() => refresh({ force: true }), SETTLED_AFTER); // rules' states are those of the last version
  }
  return well;
}

// --- The lists -----------------------------------------------------------------------------------

function ruleWords({ type, people, factor, minutes, atLeast, state, lastFiredAt }) {
  const what = type === 'spike' ? `${decimal(factor)} times as many as ${counted(minutes, 'minute', 'minutes')} ago, at least ${number(atLeast)}` : `${counted(people, 'person', 'people')} or more`;
  return [what, state === 'fired' ? 'so now' : 'waiting', lastFiredAt && `last at ${when(lastFiredAt)}`].filter(Boolean).join(' · ');
}

const when = (iso) => new Date(iso).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
const idOf = ({ userId, visitorId, sessionId }) => (userId ? `user ${userId}` : visitorId ? `visitor ${visitorId}` : `session ${sessionId}`);
const said = (value) => (typeof value === 'object' && value ? JSON.stringify(value) : String(value));

function render() {
  const staying = removals.filter(({ until }) => Date.parse(until) > serverNow());
  reconcile($('rules'), rules, ({ name }) => name, createRule, (row, one) => {
    setText(row.querySelector('.sub'), ruleWords(one));
    row.dataset.state = one.state;
  });
  reconcile($('removals'), staying, ({ id }) => id, createRemoval, (row, one) => {
    setText(row.querySelector('.sub'), [`until ${when(one.until)}`, `by ${one.by}`, one.reason].filter(Boolean).join(' · '));
  });
  reconcile($('acts'), acts, ({ id }) => id, ({ at, who, what, parameters }) => {
    const rest = Object.entries(parameters).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${said(value)}`);
    return element('li', {}, element('time', { datetime: at }, when(at)), element('span', {}, `${who} ${ACTS[what] ?? what}`, element('span', { class: 'sub' }, rest.join(', '))));
  }, () => {});
  for (const id of ['rules', 'removals', 'acts']) {
    $(id).hidden = !$(id).children.length;
    $(`${id}-none`).hidden = !$(id).hidden;
  }
}

function createEntry(title, word, label, title3, task) {
  const button = element('button', { type: 'button', class: 'quiet', 'aria-label': label }, word);
  button.onclick = async () => {
    if (await act(button, task)) $(title3).focus(); // the button is about to go
  };
  return element('li', {}, element('span', {}, element('span', { class: 'who' }, title), element('span', { class: 'sub' })), button);
}

const createRule = ({ name }) => createEntry(name, 'Delete', `Delete the rule ${name}`, 'rules-title', () => ask('DELETE', path(`/alerts/${encodeURIComponent(name)}`)));
const createRemoval = (one) => createEntry(idOf(one), 'Lift', `Lift the removal of ${idOf(one)}`, 'removals-title', () => ask('DELETE', path(`/removals/${encodeURIComponent(one.id)}`)));

// --- Forms ---------------------------------------------------------------------------------------

/** Sends a form once at a time, and empties it when that went well. */
function onSubmit(form, task, problem) {
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (await act(form.querySelector('[type="submit"]'), task, problem)) form.reset();
  };
  form.onreset = () => setTimeout(chooseType);
}

/** Only the fields of the chosen type are asked for. */
function chooseType() {
  for (const label of $('rule-form').querySelectorAll('[data-type]')) {
    label.hidden = label.dataset.type !== $('rule-type').value;
    label.querySelector('input').disabled = label.hidden;
  }
}
$('rule-type').onchange = chooseType;
chooseType();

const value = (id) => Number($(id).value);
onSubmit($('rule-form'), () => {
  const type = $('rule-type').value;
  const rule = type === 'spike' ? { factor: value('rule-factor'), minutes: value('rule-minutes'), atLeast: value('rule-least') } : { people: value('rule-people') };
  return ask('PUT', path(`/alerts/${encodeURIComponent($('rule-name').value.trim())}`), { type, ...rule });
});
onSubmit($('message-form'), () => ask('POST', path('/messages'), { text: $('message-input').value.trim(), level: $('message-level').value, seconds: Math.round(value('message-minutes') * 60) }));
$('message-end').onclick = async () => {
  const { id } = notice;
  if (!(await act($('message-end'), () => ask('DELETE', path('/messages'))))) return;
  ended = id;
  noticed(notice?.id === id ? null : notice);
  $('message-title').focus();
};

// --- Removing a person ---------------------------------------------------------------------------

/** Asks whether a session's person should go, and for how long. */
export function askRemoval(viewer) {
  leaving = viewer;
  const known = viewer.userId ? 'in every tab and browser where they are signed in' : viewer.visitorId ? 'with this browser, in new tabs too' : 'with this tab alone';
  setText($('removal-who'), `${viewer.name ? `${viewer.name}, ` : ''}${idOf(viewer)}: their sessions end now and they stay out of ${app.place.space}, ${known}.`);
  $('removal-problem').hidden = true;
  $('removal-form').reset();
  $('removal').showModal();
}

onSubmit($('removal-form'), async () => {
  const [field] = ['userId', 'visitorId', 'sessionId'].filter((name) => leaving[name]);
  const reason = $('removal-reason').value.trim();
  const { until, ended } = await ask('POST', path('/removals'), { [field]: leaving[field], seconds: value('removal-seconds'), ...(reason && { reason }) });
  toast(`${leaving.name || idOf(leaving)} is removed until ${when(until)}; ${counted(ended, 'session', 'sessions')} ended.`);
  $('removal').close();
}, $('removal-problem'));
$('removal-cancel').onclick = () => $('removal').close();

// --- The view ------------------------------------------------------------------------------------

$('extras').ontoggle = () => refresh({ now: true, force: true });
setInterval(() => refresh(), MINUTE);

export function tick() {
  if (notice && Date.parse(notice.until) <= serverNow()) renderNotice();
}

export function enter() {
  renderAlerts();
}

export function forget() {
  if (!server.token) {
    seen.clear();
    heardIn.clear();
  }
  rules = removals = acts = [];
  leaving = null;
  $('removal').close();
  $('extras').setAttribute('aria-busy', 'true');
  $('extras-problem').hidden = true;
  for (const id of ['rules', 'removals', 'acts', 'alerts-list', 'toasts']) $(id).replaceChildren();
  for (const id of ['rules-none', 'removals-none', 'acts-none']) $(id).hidden = true;
  for (const id of ['rule-form', 'message-form']) $(id).reset();
  setText($('removal-who'), '');
  setText($('message-text'), '');
  renderAlerts();
  noticed(null);
}

export const csv = {
  alerts: () => [`${app.place.space}-alerts`, [['at', 'name', 'type', 'people', 'threshold', 'before', 'factor', 'minutes', 'at least'], ...(heardIn.get(app.place.space) ?? []).map((one) => [one.at, one.name, one.type, one.people, one.threshold, one.before, one.factor, one.minutes, one.atLeast])]],
  audit: () => [`${app.place.space}-audit`, [['at', 'who', 'what', 'parameters'], ...acts.map((one) => [one.at, one.who, one.what, JSON.stringify(one.parameters)])]],
};

/** A space's alerts, the message to everyone, removals, and the forms for them. */

import { app, attemptShown, onSubmit, whileDisabled } from '../app.js';
import { get, mayRead, request, server, serverNow, spacePath } from '../server.js';
import { $, MINUTE, SECOND, clockTime, counted, dateTime, decimal, element, number, paced, reconcile, setText, isBlank } from '../tools.js';

const TOAST_TIME = 10 * SECOND;
const MAX_ALERTS = 50;
const MAX_ACTIONS = 20;
const RULE_DELAY = 3 * SECOND; // rules' states follow with the next version
const ACTIONS = { putAlert: 'Alert {name} saved', deleteAlert: 'Alert {name} deleted', sendMessage: 'Message sent', endMessage: 'Message ended', removePerson: 'Person removed', correctEngagement: 'Total corrected', liftRemoval: 'Removal lifted', createShare: 'Share link created', revokeShare: 'Share link revoked', startStream: 'Stream started', stopStream: 'Stream stopped' };

const seen = new Set(); // ids of alerts, which may arrive twice
const alertsOf = new Map(); // space -> its alerts, newest first, until the page is reloaded
let notice = null;
let ended = null; // the id of the message that was ended here: earlier versions still carry it
let rules = [];
let removals = [];
let actions = [];
let chosen = null; // the session in the dialog

const path = (rest) => spacePath(app.place.space, rest);

// --- Toasts and alerts ---------------------------------------------------------------------------

/** Shows a text for ten seconds, and longer while you hover or focus it. */
function toast(message) {
  const close = element('button', { type: 'button', class: 'quiet', 'aria-label': `Dismiss: ${message}` }, 'Dismiss');
  const text = element('p');
  const node = element('div', { class: 'toast', role: 'status', 'data-testid': 'toast' }, text, close);
  close.onclick = () => node.remove();
  const fade = () => (node.matches(':hover, :focus-within') ? setTimeout(fade, SECOND) : node.remove());
  setTimeout(fade, TOAST_TIME);
  $('toasts').append(node);
  text.append(message); // after its region exists, so that screen readers read it
}

function describeAlert({ name, type, people, threshold, before, minutes }) {
  const now = counted(people, 'person', 'people');
  return type === 'spike' ? `${name}: ${now}, up from ${number(before)} in ${counted(minutes, 'minute', 'minutes')}` : `${name}: ${now}, reached your goal of ${number(threshold)}`;
}

export function onAlert({ space, at, alert }) {
  if (seen.has(alert.id)) return;
  seen.add(alert.id);
  alertsOf.set(space, [{ ...alert, at }, ...(alertsOf.get(space) ?? [])].slice(0, MAX_ALERTS));
  toast(describeAlert(alert));
  renderAlerts();
  refresh({ force: true });
}

function renderAlerts() {
  const alerts = alertsOf.get(app.place.space) ?? [];
  $('alerts-heard').hidden = !alerts.length;
  reconcile($('alerts-list'), alerts, ({ id }) => id, ({ at }) => element('li', {}, element('time', { datetime: at }, clockTime(at, true)), element('span')), (row, one) => setText(row.lastChild, describeAlert(one)));
}

// --- The message to everyone ---------------------------------------------------------------------

/** The message shown to everyone now, or null. */
export function onNotice(message) {
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

const isOpen = () => app.place.view === 'space' && $('extras').open && !$('extras').hidden;
export const refresh = paced((force) => isOpen() && mayRead(force) && attemptShown(load, $('extras-problem')), () => SECOND);

async function load() {
  const { space } = app.place;
  const [found, removed, audit] = await Promise.all([get(path('/alerts')), get(path('/removals')), get(path('/audit'))]);
  if (space !== app.place.space) return;
  rules = found.alerts;
  removals = removed.removals;
  actions = audit.acts.slice(0, MAX_ACTIONS);
  $('extras').setAttribute('aria-busy', 'false');
  render();
}

/** Runs an admin's action, and then reads everything again. */
async function perform(task, problem = $('extras-problem')) {
  const succeeded = await attemptShown(task, problem);
  if (succeeded) {
    refresh({ now: true, force: true });
    setTimeout(() => refresh({ force: true }), RULE_DELAY);
  }
  return succeeded;
}

// --- The lists -----------------------------------------------------------------------------------

function describeRule({ type, people, factor, minutes, atLeast, state, lastFiredAt }) {
  const what = type === 'spike' ? `At ${decimal(factor)}× within ${counted(minutes, 'minute', 'minutes')}, from ${counted(atLeast, 'person', 'people')} on` : `At ${number(people)}+ people`;
  return [what, state === 'fired' ? 'firing now' : 'waiting', lastFiredAt && `last fired ${dateTime(lastFiredAt)}`].filter(Boolean).join(' · ');
}

const idOf = ({ userId, verified, visitorId, sessionId }) => (userId ? `user ${userId}${verified === false ? ' (not verified)' : ''}` : visitorId ? `visitor ${visitorId}` : `session ${sessionId}`);
const actionOf = (what, { name }) => (ACTIONS[what] ?? what).replace('{name}', () => `“${name}”`);
const textOf = (value) => (typeof value === 'object' && value ? JSON.stringify(value) : String(value));

function render() {
  const current = removals.filter(({ until }) => Date.parse(until) > serverNow());
  reconcile($('rules'), rules, ({ name }) => name, createRule, (row, one) => {
    setText(row.querySelector('.sub'), describeRule(one));
    row.dataset.state = one.state;
  });
  reconcile($('removals'), current, ({ id }) => id, createRemoval, (row, one) => {
    setText(row.querySelector('.sub'), [`until ${dateTime(one.until)}`, `by ${one.by}`, one.reason].filter(Boolean).join(' · '));
  });
  reconcile($('actions'), actions, ({ id }) => id, ({ at, who, what, parameters }) => {
    const rest = Object.entries(parameters).filter(([name, value]) => value !== null && !(name === 'name' && ACTIONS[what]?.includes('{name}'))).map(([name, value]) => `${name} ${textOf(value)}`);
    return element('li', {}, element('time', { datetime: at }, dateTime(at)), element('span', {}, actionOf(what, parameters), element('span', { class: 'sub' }, [`by ${who}`, ...rest].join(' · '))));
  }, () => {});
  for (const id of ['rules', 'removals', 'actions']) {
    $(id).hidden = !$(id).children.length;
    $(`${id}-none`).hidden = !$(id).hidden;
  }
}

/** An entry with a button. Its heading gets the focus when the button disappears. */
function createEntry(title, word, label, heading, task) {
  const button = element('button', { type: 'button', class: 'quiet', 'aria-label': label }, word);
  button.onclick = async () => {
    if (await whileDisabled(button, () => perform(task))) $(heading).focus();
  };
  return element('li', {}, element('span', {}, element('span', { class: 'who' }, title), element('span', { class: 'sub' })), button);
}

const createRule = ({ name }) => createEntry(name, 'Delete', `Delete the rule ${name}`, 'rules-title', () => request('DELETE', path(`/alerts/${encodeURIComponent(name)}`)));
const createRemoval = (one) => createEntry(idOf(one), 'Lift', `Lift the removal of ${idOf(one)}`, 'removals-title', () => request('DELETE', path(`/removals/${encodeURIComponent(one.id)}`)));

// --- Forms ---------------------------------------------------------------------------------------

/** Shows the fields of the chosen type only. */
function chooseType() {
  for (const label of $('rule-form').querySelectorAll('[data-type]')) {
    label.hidden = label.dataset.type !== $('rule-type').value;
    label.querySelector('input').disabled = label.hidden;
  }
}
$('rule-type').onchange = chooseType;
$('rule-form').onreset = () => setTimeout(chooseType); // after the reset
chooseType();

const value = (id) => Number($(id).value);
const saveRule = () => {
  const type = $('rule-type').value;
  const rule = type === 'spike' ? { factor: value('rule-factor'), minutes: value('rule-minutes'), atLeast: value('rule-least') } : { people: value('rule-people') };
  return request('PUT', path(`/alerts/${encodeURIComponent($('rule-name').value.trim())}`), { type, ...rule });
};
const sendMessage = () => request('POST', path('/messages'), { text: $('message-input').value.trim(), level: $('message-level').value, seconds: Math.round(value('message-minutes') * 60) });
onSubmit($('rule-form'), () => perform(saveRule));
onSubmit($('message-form'), () => perform(sendMessage));
$('message-end').onclick = async () => {
  const { id } = notice;
  if (!(await whileDisabled($('message-end'), () => perform(() => request('DELETE', path('/messages')))))) return;
  ended = id;
  onNotice(notice?.id === id ? null : notice);
  $('message-title').focus();
};

// --- Removing a person ---------------------------------------------------------------------------

/** Opens the dialog that removes a session's person. */
export function confirmRemoval(viewer) {
  chosen = viewer;
  const scope = viewer.userId ? (viewer.verified ? 'any tab or browser where they are signed in' : 'any tab or browser that claims this id; the user whom a token proves may') : viewer.visitorId ? 'this browser, including new tabs' : 'this tab (new tabs are not affected)';
  setText($('removal-who'), `Remove ${isBlank(viewer.name) ? '' : `${viewer.name}, `}${idOf(viewer)}? Their sessions end now, and they cannot return to ${app.place.space} from ${scope}.`);
  $('removal-problem').hidden = true;
  $('removal-form').reset();
  $('removal').showModal();
}

async function remove() {
  const field = ['userId', 'visitorId', 'sessionId'].find((name) => chosen[name]);
  const reason = $('removal-reason').value.trim();
  const { until, ended: count } = await request('POST', path('/removals'), { [field]: chosen[field], ...(field === 'userId' && { verified: chosen.verified }), seconds: value('removal-seconds'), ...(reason && { reason }) });
  toast(`${isBlank(chosen.name) ? idOf(chosen) : chosen.name} is removed until ${dateTime(until)}; ${counted(count, 'session', 'sessions')} ended.`);
  $('removal').close();
}
onSubmit($('removal-form'), () => perform(remove, $('removal-problem')));
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
    alertsOf.clear();
  }
  rules = removals = actions = [];
  chosen = null;
  $('removal').close();
  $('extras').setAttribute('aria-busy', 'true');
  $('extras-problem').hidden = true;
  for (const id of ['rules', 'removals', 'actions', 'alerts-list', 'toasts']) $(id).replaceChildren();
  for (const id of ['rules-none', 'removals-none', 'actions-none']) $(id).hidden = true;
  for (const id of ['rule-form', 'message-form']) $(id).reset();
  setText($('removal-who'), '');
  setText($('message-text'), '');
  renderAlerts();
  onNotice(null);
}

export const csv = {
  alerts: () => [`${app.place.space}-alerts`, [['at', 'name', 'type', 'people', 'threshold', 'before', 'factor', 'minutes', 'at least'], ...(alertsOf.get(app.place.space) ?? []).map((one) => [one.at, one.name, one.type, one.people, one.threshold, one.before, one.factor, one.minutes, one.atLeast])]],
  audit: () => [`${app.place.space}-audit`, [['at', 'who', 'what', 'parameters'], ...actions.map((one) => [one.at, one.who, one.what, JSON.stringify(one.parameters)])]],
};

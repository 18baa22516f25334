/** Tables with bars, rows that become cards on narrow screens, and pages. */

import { $, counted, element, number, reconcile, setAttribute, setText, shown } from './tools.js';

/**
 * A card with a table of bars. `columns` are what a bar stands for, and its numbers; `empty` is shown without bars.
 * `pick(value)`, if given, is what a click on a bar does.
 */
export function createBarCard(id, title, csv, columns, empty, pick) {
  const heading = element('h2', { id }, title);
  const heads = columns.map((name, i) => element('th', { scope: 'col', class: i ? 'number' : '' }, element('span', { class: i ? '' : 'visually-hidden' }, name)));
  const table = element('table', { 'aria-labelledby': id }, element('thead', {}, element('tr', {}, ...heads)), element('tbody'));
  const frame = element('div', { class: 'scroll', role: 'group', tabindex: '0', 'aria-labelledby': id }, table, element('p', { class: 'sub' }, empty));
  const head = element('header', {}, heading, element('button', { class: 'quiet csv', type: 'button', 'data-csv': csv }, 'CSV'));
  return Object.assign(element('section', { class: 'card facet', 'aria-labelledby': id }, head, frame), { pick });
}

/** Shows `{value, label?, numbers, texts?, mark?, pressed?, fixed?}` in such a card, in this order. A `fixed` one can't be picked. */
export function updateBars(card, items) {
  const table = card.querySelector('table');
  const most = Math.max(1, ...items.map((item) => item.numbers[0]));
  reconcile(table.tBodies[0], items, ({ value }) => value, (item) => createBar(table.tHead.rows[0].cells.length - 1, card.pick && (() => card.pick(item.value))), (row, item) => {
    const [label, ...cells] = row.children;
    label.style.setProperty('--share', item.numbers[0] / most);
    label.title = shown(item.label && item.label !== item.value ? `${item.label} (${item.value})` : item.value);
    setText(label.querySelector('span'), item.label ?? item.value);
    if (card.pick) {
      setAttribute(label.firstChild, 'aria-pressed', String(Boolean(item.pressed)));
      label.firstChild.disabled = Boolean(item.fixed);
    }
    cells.forEach((one, i) => setText(one, item.texts?.[i] ?? number(item.numbers[i])));
    item.mark?.(row);
  });
  table.hidden = !items.length;
  table.nextElementSibling.hidden = items.length > 0;
}

function createBar(columns, pick) {
  const cells = Array.from({ length: columns }, (_, i) => element('td', { class: i ? 'number soft' : 'number' }));
  const button = pick && element('button', { type: 'button', class: 'pick' }, element('span'));
  if (pick) button.onclick = pick;
  return element('tr', {}, element('th', { scope: 'row', class: 'bar-cell' }, button ?? element('span')), ...cells);
}

/**
 * Gives a table its header, and returns a function that creates a row. On narrow screens a row becomes a card, where
 * each number's title is its label. `columns` are [class, title]; an "act" column holds buttons.
 */
export function stackedTable(body, columns, hasLabels = true) {
  const headers = columns.map(([name, title]) => {
    const text = name === 'act' ? element('span', { class: 'visually-hidden' }, title) : title;
    return element('th', { role: 'columnheader', scope: 'col', class: name.startsWith('number') ? 'number' : '' }, text);
  });
  body.before(element('thead', { role: 'rowgroup' }, element('tr', { role: 'row' }, ...headers)));
  const labels = columns.map(([name, title], i) => (hasLabels && i && name !== 'act' ? { 'data-label': title } : {}));
  return () => element('tr', { role: 'row' }, ...columns.map(([name], i) => element('td', { role: 'cell', class: name, ...labels[i] })));
}

/** Shows items a page at a time, so that a thousand rows cost as much as fifty. */
export function pager(before, after, size, changed) {
  const state = { page: 0 };
  before.onclick = () => turn(-1);
  after.onclick = () => turn(1);
  function turn(by) {
    state.page += by;
    changed();
    if (before.hidden) after.focus();
    else if (after.hidden) before.focus();
  }
  state.slice = (items) => {
    const last = Math.max(0, Math.ceil(items.length / size) - 1);
    state.page = Math.min(state.page, last);
    before.hidden = state.page === 0;
    after.hidden = state.page >= last;
    state.first = state.page * size;
    return items.slice(state.first, state.first + size);
  };
  /** Such as "1–50 of 155", or "" if there is one page. */
  state.range = (items, total = items.length) => (items.length > size ? `${number(state.first + 1)}–${number(Math.min(items.length, state.first + size))} of ${number(total)}` : '');
  return state;
}

/** Such as "3 of 12" if items are filtered out, or else "12 spaces". */
export const shownOf = (shown, total, one, many) => (shown < total ? `${number(shown)} of ${number(total)}` : counted(total, one, many));

/** Offers the existing values as options, and keeps the choice. */
export function updateOptions(select, values, label = (value) => value) {
  const wanted = [...new Set([...values, ...(select.value ? [select.value] : [])])].sort();
  const shown = [...select.options].slice(1).map(({ value }) => value);
  if (wanted.join('\n') === shown.join('\n')) return;
  const { value } = select;
  select.replaceChildren(select.options[0], ...wanted.map((one) => element('option', { value: one }, label(one))));
  select.value = value;
}

/** Terms and numbers, updated in place. */
export function updatePairs(list, pairs) {
  reconcile(list, pairs, ([term]) => term, ([term]) => element('div', {}, element('dt', {}, term), element('dd')), (row, [, text, note]) => {
    setText(row.lastChild, text);
    row.title = shown(note ?? '');
  });
}

export const setNumbers = (texts) => Object.entries(texts).forEach(([id, text]) => setText($(id), text));

/** Whether any of these texts contains the search text. */
export const matches = (search, texts) => !search || texts.some((text) => text && String(text).toLowerCase().includes(search.toLowerCase()));

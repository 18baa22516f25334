/** Tables of bars, rows that become cards on narrow screens, filters and pages. */

import { $, element, number, reconcile, setText } from './tools.js';

/** A table of `{value, label?, note?, people, count?}`, the largest first; `columns` name the numbers. */
export function updateBars(table, word, columns, items) {
  const head = table.tHead;
  if (!head.rows.length) {
    const hidden = element('th', { scope: 'col' }, element('span', { class: 'visually-hidden' }, word));
    head.append(element('tr', {}, hidden, ...columns.map((name) => element('th', { scope: 'col', class: 'number' }, name))));
  }
  const most = Math.max(1, ...items.map((item) => item.numbers[0]));
  reconcile(table.tBodies[0], items, ({ value }) => value, () => createBar(columns.length), (row, item) => {
    const [label, ...cells] = row.children;
    label.style.setProperty('--share', item.numbers[0] / most);
    label.title = item.label && item.label !== item.value ? `${item.label} (${item.value})` : item.value;
    setText(label.firstChild, item.label ?? item.value);
    cells.forEach((one, i) => setText(one, item.texts?.[i] ?? number(item.numbers[i])));
    item.mark?.(row);
  });
  table.hidden = !items.length;
  if (table.nextElementSibling) table.nextElementSibling.hidden = items.length > 0;
}

function createBar(columns) {
  const cells = Array.from({ length: columns }, (_, i) => element('td', { class: i ? 'number soft' : 'number' }));
  return element('tr', {}, element('th', { scope: 'row', class: 'bar-cell' }, element('span')), ...cells);
}

/** A row of a table that becomes a card on narrow screens; a label is shown before the cell there. */
export function createRow(columns) {
  const cells = columns.map(([name, label]) => element('td', { role: 'cell', class: name, ...(label ? { 'data-label': label } : {}) }));
  return element('tr', { role: 'row' }, ...cells);
}

/** Shows `items` a page at a time, so that a thousand rows cost as much as fifty. */
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
  state.words = (items) => (items.length > size ? `${number(state.first + 1)}–${number(Math.min(items.length, state.first + size))} of ${number(items.length)}` : '');
  return state;
}

/** Offers the values that there are, and keeps the choice. */
export function updateOptions(select, values, label = (value) => value) {
  const wanted = [...new Set([...values, ...(select.value ? [select.value] : [])])].sort();
  const shown = [...select.options].slice(1).map(({ value }) => value);
  if (wanted.join('\n') === shown.join('\n')) return;
  const { value } = select;
  select.replaceChildren(select.options[0], ...wanted.map((one) => element('option', { value: one }, label(one))));
  select.value = value;
}

/** Term and number pairs, updated in place. */
export function updatePairs(list, pairs) {
  reconcile(list, pairs, ([term]) => term, ([term]) => element('div', {}, element('dt', {}, term), element('dd')), (row, [, text, note]) => {
    setText(row.lastChild, text);
    row.title = note ?? '';
  });
}

export const setNumbers = (texts) => Object.entries(texts).forEach(([id, text]) => setText($(id), text));

/** Whether any of these texts holds the words that were searched for. */
export const matches = (words, texts) => !words || texts.some((text) => text && String(text).toLowerCase().includes(words.toLowerCase()));

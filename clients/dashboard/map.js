/** A map of the world in the card of countries, shaded by people. The table below it has the same numbers. */

import { counted, countryName, drawn, setText } from './tools.js';

const FAINTEST = 0.2; // so that one person among thousands is seen

let file = null; // countries.svg, read when the first card needs it

const read = () => (file ??= fetch('/dashboard/countries.svg').then((response) => (response.ok ? response.text() : null)).catch(() => null));

/** Puts the map between a card's heading and its table. Without the file there is only the table. */
export async function addMap(card) {
  const text = await read();
  const [, viewBox] = /viewBox="([^"]*)"/.exec(text ?? '') ?? [];
  if (!viewBox) {
    file = null; // the next card tries again
    return;
  }
  const map = drawn('svg', { viewBox, class: 'map', role: 'img', 'aria-label': 'Map of the countries in the table below' });
  for (const [, id, d] of text.matchAll(/<path id="([^"]*)" d="([^"]*)"/g)) map.append(drawn('path', { id, d }, drawn('title')));
  map.onclick = ({ target }) => card.bars.some(({ value, fixed }) => value === target.id && !fixed) && card.pick(target.id);
  card.querySelector('.scroll').before(map);
  updateMap(card, card.bars);
}

/** Shades the card's map by the same bars as its table. By the root of a country's share, or all but the largest would look alike. */
export function updateMap(card, bars) {
  card.bars = bars;
  const most = Math.max(1, ...bars.map(({ numbers }) => numbers[0]));
  const found = new Map(bars.map((bar) => [bar.value, bar]));
  for (const shape of card.querySelectorAll('.map path')) {
    const { label, numbers: [people] = [0] } = found.get(shape.id) ?? {};
    shape.classList.toggle('here', people > 0);
    shape.style.setProperty('--share', people && FAINTEST + (1 - FAINTEST) * Math.sqrt(people / most));
    setText(shape.firstChild, people ? `${label}: ${counted(people, 'person', 'people')}` : countryName(shape.id));
  }
}

/** Menus of actions behind a button. The browser closes them: on Escape, and on a click elsewhere. */

import { $, element } from './tools.js';

/** Below the button, and within the window. */
function place(menu, button) {
  const { bottom, left, right } = button.getBoundingClientRect();
  const width = menu.offsetWidth;
  const x = Math.max(8, Math.min(right - width, left, document.documentElement.clientWidth - width - 8));
  menu.style.setProperty('left', `${x + scrollX}px`);
  menu.style.setProperty('top', `${bottom + 4 + scrollY}px`);
}

function moveFocus(event) {
  const items = [...event.currentTarget.children].filter((one) => one.checkVisibility());
  const at = items.indexOf(document.activeElement);
  const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  items.at(target % items.length)?.focus();
}

/** Makes a popover a menu: at its button, with arrow keys, closed by a choice. */
function enliven(menu, buttonOf) {
  menu.ontoggle = ({ newState }) => {
    if (newState !== 'open') return;
    place(menu, buttonOf());
    [...menu.children].find((one) => one.checkVisibility())?.focus();
  };
  menu.onkeydown = moveFocus;
  menu.addEventListener('click', ({ target }) => target !== menu && menu.hidePopover());
}

let rowButton = null;
enliven($('menu'), () => $('menu-open'));
enliven($('row-menu'), () => rowButton);

/** A button that opens a menu with these actions, [text, action] each, asked for when it opens. */
export function menuButton(actionsOf) {
  const button = element('button', { type: 'button', class: 'quiet dots' }, '⋯');
  button.onclick = () => {
    rowButton = button;
    const items = actionsOf().map(([text, action]) => {
      const item = element('button', { type: 'button' }, text);
      item.onclick = action;
      return item;
    });
    $('row-menu').replaceChildren(...items);
    $('row-menu').togglePopover({ source: button });
  };
  return button;
}

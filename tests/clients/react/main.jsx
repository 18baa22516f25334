// What the tests do with the pages.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { ConvexBadge } from "./convex.jsx";
import { LinkCard } from "./elements.jsx";
import { configure } from "./headcount-react.js";
import * as pages from "./pages.tsx";

const components = { ...pages, ConvexBadge, LinkCard };
const roots = new Map();

/** Show a page at a place of its own, with its effects run twice as in development. */
function show(name, props, place = name) {
  if (!roots.has(place)) {
    const element = document.body.appendChild(document.createElement("main"));
    element.id = place;
    roots.set(place, createRoot(element));
  }
  const Page = components[name];
  roots.get(place).render(
    <StrictMode>
      <Page {...props} />
    </StrictMode>,
  );
}

function remove(place) {
  roots.get(place).unmount();
  roots.delete(place);
  document.getElementById(place).remove();
}

function hide(isHidden) {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event("visibilitychange"));
}

globalThis.app = { configure, show, remove, hide, session: pages.session };

// What the tests call in the browser.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { ConvexBadge, LivePage } from "./convex.jsx";
import { LinkCard } from "./elements.jsx";
import { configure } from "./headcount-react.js";
import * as pages from "./pages.tsx";

const components = { ...pages, ConvexBadge, LinkCard, LivePage };
const roots = new Map();

/** Render a page into its own element, with effects run twice as in development. */
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

import { configure } from "headcount-live/svelte";
import { mount } from "svelte";

import App from "./App.svelte";
import Badge from "./Badge.svelte";

configure({ endpoint: "https://YOUR-HTTP-URL" });
mount(App, { target: document.body });
mount(Badge, { target: document.body, props: { space: "course:intro" } });

import { configure } from "headcount-live/svelte";
import { mount } from "svelte";

import App from "./App.svelte";

configure({ endpoint: "https://YOUR-HTTP-URL" });
mount(App, { target: document.body });

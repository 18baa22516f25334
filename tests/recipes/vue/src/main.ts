import { configure } from "headcount-live/vue";
import { createApp } from "vue";

import App from "./App.vue";

configure({ endpoint: "https://YOUR-HTTP-URL" });
createApp(App).mount("#app");

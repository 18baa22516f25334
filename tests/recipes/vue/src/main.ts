import { configure } from "headcount-live/vue";
import { createApp } from "vue";

import App from "./App.vue";
import Badge from "./Badge.vue";

configure({ endpoint: "https://YOUR-HTTP-URL" });
createApp(App).mount("#app");
createApp(Badge).mount("#badge");

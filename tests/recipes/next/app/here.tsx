"use client";

import { ViewerCount, configure } from "headcount-live/react";

configure({ endpoint: "https://YOUR-HTTP-URL" });

export function Here() {
  return <ViewerCount space="site:main" label="{n} person is|{n} people are viewing this" fallback={<span>Live</span>} />;
}

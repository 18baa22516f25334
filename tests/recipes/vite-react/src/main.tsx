import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./App";
import { Badge } from "./Badge";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
    <Badge />
  </StrictMode>,
);

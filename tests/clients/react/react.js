// React as a module, for pages without a build step.
export { createElement, useCallback, useEffect, useRef, useState } from "react";
export { createRoot } from "react-dom/client";

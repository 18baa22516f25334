import "headcount-live/elements";
import type {} from "headcount-live/react"; // the elements' types in JSX

export function Badge() {
  return <headcount-badge space="course:intro" label="{n} person|{n} people" plain />;
}

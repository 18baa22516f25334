/* Every attribute of every element has its type. This is compiled, and not shown. */
import type {} from "headcount-live/react";

export const elements = (
  <>
    <headcount-badge
      space="course:intro"
      chapter="3"
      label="{n} person|{n} people"
      when-unknown="hide"
      refresh-interval={5000}
      avatars
      names
      passive
      plain
    />
    <headcount-live link="abc123" token={() => null} theme="dark" class="wide" />
    <headcount-live space="site:main" heading-level={3} endpoint="https://YOUR-HTTP-URL" />
    <headcount-traffic token="a" theme="light" refresh-interval="5000" id="traffic" />
    <headcount-stream stream-id="42" auto-refresh="false" token={null} />
    {/* @ts-expect-error: a badge has a space */}
    <headcount-badge label="{n} person|{n} people" />
    {/* @ts-expect-error: a theme is light or dark */}
    <headcount-traffic theme="blue" />
    {/* @ts-expect-error: no element has this attribute */}
    <headcount-live chapters="3" />
  </>
);

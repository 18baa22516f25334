// docs/elements.md quotes it.
export function LinkCard({ link, token }) {
  return <headcount-live link={link} refresh-interval={5000} token={token} />;
}

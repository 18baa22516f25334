export default function (config) {
  config.addPassthroughCopy({ "node_modules/headcount-live/headcount*.js": "headcount" });
}

import { Construct } from "constructs";

/**
 * Headcount, of the release in whose folder this file is. The template becomes part of the stack as
 * it is, names and parameters included, so give it a stack of its own; the code becomes assets of
 * the app. Parameters are given as to any template: `cdk deploy --parameters LogDays=30`.
 */
export class Headcount extends Construct {
  constructor(scope: Construct, id: string);
  /** The value of an output, such as `HttpUrl`, for other constructs in the same stack. */
  output(name: string): string;
}

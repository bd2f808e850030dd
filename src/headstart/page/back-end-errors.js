/** What can go wrong between the page and its back end. */

/** One photo has no answer; the message says why. */
export class NoAnswer extends Error {}

/** The back end asks for a token, or for another one. */
export class TokenNeeded extends Error {}

/** The server has another file of the model than before. */
export class ModelReplaced extends Error {}

/** No photo can be predicted now; the message says why. */
export class Unavailable extends Error {}

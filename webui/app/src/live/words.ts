/** A problem as it comes over the WebSocket. */
export interface Problem {
  title?: string;
  status: number;
  code: string;
  detail: string;
  mend?: string;
}

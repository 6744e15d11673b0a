import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "@/api/client";
import { keys } from "@/api/keys";
import type { WebhookDelivery, WebhookEdit, WebhookSubmission } from "@/api/types";

/** Deliveries come and go without a live stream; whoever looks at them sees them a few seconds later. */
const POLL_MS = 5_000;
const LOG_LENGTH = 20;

/** The webhooks of whoever is signed in, newest first. */
export const webhooksQuery = queryOptions({
  queryKey: keys.webhooks,
  queryFn: () => unwrap(api.GET("/api/v1/webhooks")),
  staleTime: 0,
  refetchInterval: POLL_MS,
});

/** The newest messages of a webhook, with what came of them. */
export function deliveriesQuery(id: string) {
  return queryOptions({
    queryKey: keys.webhookLog(id),
    queryFn: () =>
      unwrap(
        api.GET("/api/v1/webhooks/{webhook_id}/deliveries", {
          params: { path: { webhook_id: id }, query: { limit: LOG_LENGTH } },
        }),
      ),
    staleTime: 0,
    refetchInterval: POLL_MS,
  });
}

/** Adds a webhook; the answer alone holds its secret. */
export function useAddWebhook() {
  const refresh = useRefresh();
  return useMutation({
    mutationFn: (body: WebhookSubmission) => unwrap(api.POST("/api/v1/webhooks", { body })),
    onSuccess: refresh,
  });
}

/** Enables or disables it. */
export function useEditWebhook(id: string) {
  const refresh = useRefresh();
  return useMutation({
    mutationFn: (body: WebhookEdit) =>
      unwrap(api.PATCH("/api/v1/webhooks/{webhook_id}", { params: { path: { webhook_id: id } }, body })),
    onSettled: refresh,
  });
}

export function useDeleteWebhook(id: string) {
  const refresh = useRefresh();
  return useMutation({
    mutationFn: async () => {
      await unwrap(api.DELETE("/api/v1/webhooks/{webhook_id}", { params: { path: { webhook_id: id } } }));
    },
    onSettled: refresh,
  });
}

/** Sends a test message and waits for the receiver, up to 15 s. */
export function useTestWebhook(id: string) {
  const refresh = useRefresh();
  return useMutation({
    mutationFn: (): Promise<WebhookDelivery> =>
      unwrap(api.POST("/api/v1/webhooks/{webhook_id}/test", { params: { path: { webhook_id: id } } })),
    onSettled: refresh,
  });
}

export function useRedeliver(id: string) {
  const refresh = useRefresh();
  return useMutation({
    mutationFn: (deliveryId: number) =>
      unwrap(
        api.POST("/api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", {
          params: { path: { webhook_id: id, delivery_id: deliveryId } },
        }),
      ),
    onSettled: refresh,
  });
}

function useRefresh() {
  const client = useQueryClient();
  return () => client.invalidateQueries({ queryKey: keys.webhooks });
}

import { Button, Title } from "@mantine/core";
import { useState } from "react";
import { AddWebhook } from "@/features/webhooks/components/add-webhook";
import { WebhookList } from "@/features/webhooks/components/webhook-list";
import classes from "./pages.module.css";
import { usePageTitle } from "./use-page-title";

/** Addresses that are told of one's runs. */
export function WebhooksPage() {
  const [adds, setAdds] = useState(false);
  usePageTitle("Webhooks");
  return (
    <>
      <div className={classes.head}>
        <Title order={1} size="h2">
          Webhooks
        </Title>
        <Button onClick={() => setAdds(true)}>Add a webhook</Button>
      </div>
      <WebhookList />
      {adds && <AddWebhook onClose={() => setAdds(false)} />}
    </>
  );
}

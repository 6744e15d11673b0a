import { Button, Menu, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { meQuery } from "@/api/me";
import { IconUser } from "@/components/icons";
import { useSignOut } from "../api/session";

/** Who is signed in, and the way out. */
export function UserMenu() {
  const { data: me } = useQuery(meQuery);
  const signOut = useSignOut();
  if (!me) return null;
  return (
    <Menu position="bottom-end" width={200}>
      <Menu.Target>
        <Button variant="subtle" color="gray" size="compact-sm" leftSection={<IconUser />}>
          {me.name}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          <Text size="xs">Role: {me.role}</Text>
        </Menu.Label>
        <Menu.Item component={Link} to="/webhooks">
          Webhooks
        </Menu.Item>
        <Menu.Item onClick={() => signOut.mutate()}>Log out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
